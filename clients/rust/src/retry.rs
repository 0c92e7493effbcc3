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
/// beyond the call's timeout. [`Retries::none`] repeats nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// At most so many repetitions of a call: 5.
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
        Self { limit: 5, first_delay: Duration::from_millis(50), longest_delay: Duration::from_secs(2) }
    }
}

/// Returns the wait between two attempts to decide, counted from 0.
pub(crate) fn conflict_delay(repetition: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(500);
    // All of it at random: those who lost to the same competitor must not meet again, and nothing needs to recover.
    LONGEST.min(FIRST.saturating_mul(2_u32.saturating_pow(repetition))).mul_f64(fastrand::f64())
}

/// The leases of durable streams that this store has closed itself. A server that still names one as active has only not
/// noticed yet.
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
    /// It belongs to a stream that has begun: as `Read`, but for as long as it takes, or so long without coming further.
    /// A defect of the server ends it: nobody waits for ever, in silence, for one to pass.
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
