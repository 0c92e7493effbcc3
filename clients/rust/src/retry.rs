//! Owns when a call may be repeated, how often, and after how long: decided by the reason of the failure.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// How often a failed call is repeated, and how long it waits before.
///
/// The delay is doubled each time, and half of it is random. One that the server asks for is kept. Nothing is repeated
/// beyond the call's timeout, which all of them take together: an append survives that its server is restarted. [`Retries::none`] repeats nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// At most so many repetitions of a call: 20.
    pub limit: u32,
    /// Before the first of them: 50 ms.
    pub first_delay: Duration,
    /// What the delays grow to: 2 s.
    pub longest_delay: Duration,
}

impl Retries {
    /// Repeats nothing. Appends get no idempotency key then.
    #[must_use]
    pub fn none() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// Returns the wait before a repetition, counted from 0.
    pub(crate) fn delay(&self, repetition: u32) -> Duration {
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(repetition));
        // Half of it at random, so that callers who failed together do not come back together.
        self.longest_delay.min(doubled).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { limit: 20, first_delay: Duration::from_millis(50), longest_delay: Duration::from_secs(2) }
    }
}

/// Refuses a time that is none: it would have gone by before anything is done.
pub(crate) fn check_time(name: &str, time: Option<Duration>) -> Result<(), Error> {
    if time.is_some_and(|time| time.is_zero()) {
        return Err(Error::usage(format!("{name} is zero; it must be longer")));
    }
    Ok(())
}

/// Returns the wait between two attempts to decide, counted from 0.
pub(crate) fn conflict_delay(repetition: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);
    // All of it at random: those who lost to the same competitor must not meet again, and nothing needs to recover.
    LONGEST.min(FIRST.saturating_mul(2_u32.saturating_pow(repetition))).mul_f64(fastrand::f64())
}

/// The leases of durable streams that this store has closed itself. A server that still names one as active has only
/// not noticed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndedLeases(Arc<Mutex<HashSet<u64>>>);

impl EndedLeases {
    pub(crate) fn insert(&self, lease_epoch: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lease_epoch);
    }

    fn are_named_by(&self, error: &Error) -> bool {
        let named = error.metadata().get("lease_epoch").and_then(|epoch| epoch.parse().ok());
        error.kind() == ErrorKind::DurableStreamActive
            && named.is_some_and(|epoch| self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&epoch))
    }
}

/// What is called, and so what a repetition of it could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads, or acknowledges: done again, it changes nothing.
    Read,
    /// It appends with an idempotency key, so a repetition commits nothing twice.
    Append,
    /// It belongs to a stream that has begun: as `Read`, but for as long as it takes, or so long without coming
    /// further. A defect of the server ends it: nobody waits for ever, in silence, for one to pass.
    Stream { give_up_after: Option<Duration> },
}

/// One call with its repetitions, within one deadline.
#[derive(Debug)]
pub(crate) struct Attempts {
    retries: Retries,
    effect: Effect,
    timeout: Duration,
    /// `None`: never.
    deadline: Option<Instant>,
    repetitions: u32,
    /// Whether an attempt before may have committed, so that a later refusal does not say that nothing was.
    in_doubt: bool,
    ended_leases: EndedLeases,
}

impl Attempts {
    pub(crate) fn new(retries: Retries, timeout: Duration, effect: Effect, ended_leases: EndedLeases) -> Self {
        let deadline = match effect {
            Effect::Stream { .. } => None,
            Effect::Read | Effect::Append => Instant::now().checked_add(timeout),
        };
        Self { retries, effect, timeout, deadline, repetitions: 0, in_doubt: false, ended_leases }
    }

    /// Returns the time that the next attempt has.
    pub(crate) fn remaining(&self) -> Duration {
        self.timeout.min(self.left())
    }

    /// Returns how long to wait before the next attempt; the error when there is none.
    pub(crate) fn delay_after(&mut self, failure: &Status) -> Result<Duration, Error> {
        if let Effect::Stream { give_up_after: Some(time) } = self.effect {
            self.deadline = self.deadline.or_else(|| Instant::now().checked_add(time));
        }
        let mut error = Error::from_status(failure, self.effect == Effect::Append);
        if self.in_doubt {
            error = error.in_doubt();
        }
        let is_within_limit = matches!(self.effect, Effect::Stream { .. }) || self.repetitions < self.retries.limit;
        if !(is_within_limit && may_repeat(&error, self.effect) || self.ended_leases.are_named_by(&error)) {
            return Err(error);
        }
        let delay = self.retries.delay(self.repetitions).max(error.retry_delay().unwrap_or_default());
        if delay >= self.left() {
            return Err(error);
        }
        self.repetitions = self.repetitions.saturating_add(1);
        self.in_doubt = error.kind() == ErrorKind::OutcomeUnknown;
        Ok(delay)
    }

    fn left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Whether a failure may pass, and doing it again does no harm.
pub(crate) fn may_repeat(error: &Error, effect: Effect) -> bool {
    match error.reason() {
        // Of an append the last leaves open whether it was committed, which is what it has a key for.
        Some("SERVER_BUSY" | "SERVER_DRAINING" | "STORE_UNAVAILABLE" | "APPEND_OUTCOME_UNKNOWN") => true,
        Some("INTERNAL") => !matches!(effect, Effect::Stream { .. }),
        _ if error.has_known_reason() => false,
        _ => matches!(
            error.code(),
            Some(Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal)
        ),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    const RETRIES: Retries =
        Retries { limit: 3, first_delay: Duration::from_millis(100), longest_delay: Duration::from_millis(300) };

    fn attempts(effect: Effect) -> Attempts {
        Attempts::new(RETRIES, Duration::from_secs(10), effect, EndedLeases::default())
    }

    fn refusal(code: Code, reason: &str, details: &mut ErrorDetails) -> Status {
        details.set_error_info(reason, "factstr", [("lease_epoch".to_owned(), "7".to_owned())]);
        Status::with_error_details(code, "refused", details.clone())
    }

    fn busy(retry_delay: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        if retry_delay.is_some() {
            details.set_retry_info(retry_delay);
        }
        refusal(Code::ResourceExhausted, "SERVER_BUSY", &mut details)
    }

    #[test]
    fn delays_double_up_to_the_longest_and_half_of_each_is_random() {
        for (repetition, longest) in [(0, 100), (1, 200), (2, 300), (40, 300), (u32::MAX, 300)] {
            let delays: HashSet<Duration> = (0..50).map(|_| RETRIES.delay(repetition)).collect();
            assert!(delays.iter().all(|delay| *delay >= Duration::from_millis(longest / 2)));
            assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(longest)));
            assert!(delays.len() > 1);
        }
    }

    #[test]
    fn a_call_is_repeated_for_about_as_long_as_its_usual_timeout() {
        let usual = Retries::default();
        let longest: Duration = (0..usual.limit).map(|_| usual.longest_delay).sum();
        assert!(longest >= Duration::from_secs(30));
    }

    #[test]
    fn a_lost_decision_waits_at_most_10_ms_doubled_up_to_500() {
        for (repetition, longest) in [(0, 10), (1, 20), (5, 320), (6, 500), (u32::MAX, 500)] {
            assert!((0..50).all(|_| conflict_delay(repetition) <= Duration::from_millis(longest)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_that_the_server_asks_for_is_kept() {
        let delay = attempts(Effect::Append).delay_after(&busy(Some(Duration::from_secs(4)))).unwrap();
        assert_eq!(delay, Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_would_not_end_before_the_timeout_is_not_begun() {
        let mut attempts = attempts(Effect::Append);
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(attempts.remaining(), Duration::from_secs(2));
        assert!(attempts.delay_after(&busy(Some(Duration::from_secs(1)))).is_ok());
        let error = attempts.delay_after(&busy(Some(Duration::from_secs(2)))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ServerBusy);
        assert_eq!(error.retry_delay(), Some(Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_up_to_the_limit_and_a_stream_without_one() {
        let mut call = attempts(Effect::Read);
        let mut stream = attempts(Effect::Stream { give_up_after: None });
        for _ in 0..3 {
            assert!(call.delay_after(&busy(None)).is_ok());
        }
        assert!(call.delay_after(&busy(None)).is_err());
        for _ in 0..1_000 {
            assert!(stream.delay_after(&busy(None)).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_given_up_so_long_after_its_first_failure() {
        let mut stream = attempts(Effect::Stream { give_up_after: Some(Duration::from_secs(60)) });
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(stream.delay_after(&Status::unavailable("gone")).is_ok());
        assert_eq!(stream.remaining(), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(55)).await;
        assert_eq!(stream.remaining(), Duration::from_secs(5));
        assert!(stream.delay_after(&Status::unavailable("gone")).is_ok());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(stream.delay_after(&Status::unavailable("gone")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_timeout_is_too_long() {
        let attempts = Attempts::new(RETRIES, Duration::MAX, Effect::Read, EndedLeases::default());
        assert_eq!(attempts.remaining(), Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_closed_here_is_waited_for_until_the_timeout() {
        let active = refusal(Code::FailedPrecondition, "DURABLE_STREAM_ACTIVE", &mut ErrorDetails::new());
        assert!(attempts(Effect::Read).delay_after(&active).is_err());
        let ended_leases = EndedLeases::default();
        ended_leases.insert(7);
        let mut attempts = Attempts::new(RETRIES, Duration::from_secs(10), Effect::Read, ended_leases);
        for _ in 0..9 {
            assert!(attempts.delay_after(&active).is_ok());
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(attempts.delay_after(&active).unwrap_err().kind(), ErrorKind::DurableStreamActive);
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_stays_in_doubt_whatever_a_later_refusal_says_of_the_server() {
        let mut attempts = attempts(Effect::Append);
        assert!(attempts.delay_after(&Status::unavailable("gone")).is_ok());
        let denied = refusal(Code::PermissionDenied, "PERMISSION_DENIED", &mut ErrorDetails::new());
        let error = attempts.delay_after(&denied).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(error.code(), Some(Code::PermissionDenied));
        assert_eq!(error.reason(), Some("PERMISSION_DENIED"));
    }
}
