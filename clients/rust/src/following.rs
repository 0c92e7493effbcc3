//! Owns how far a stream has come, what of it is still to be handed over, and when it is taken up again.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};
use crate::event::duration;
use crate::incoming::{Incoming, Opening, Received};
use crate::retry::{Attempts, Effect};
use crate::store::{EventStore, no_answer};
use crate::v1;

/// What a message of a stream says, live or durable.
pub(crate) enum Content {
    Started(Started),
    Batches(Vec<v1::CommittedBatch>),
    CaughtUp(u64),
    Checkpoint(u64),
    /// Another consumer holds the lease.
    Waiting,
    /// What this version does not know.
    Unknown,
}

/// Where a call begins.
pub(crate) struct Started {
    /// Everything that matches and is after it will be delivered.
    pub(crate) after: u64,
    /// Of durable streams; else 0.
    pub(crate) lease_epoch: u64,
    pub(crate) store_id: String,
    pub(crate) history_id: String,
    pub(crate) heartbeat_interval: Option<prost_types::Duration>,
}

/// What live and durable streams do differently.
pub(crate) trait Source {
    type Message: Into<Content>;

    /// Calls the server, for what is after a position; `None` before the first call, unless the caller has named one.
    fn open(&self, position: Option<u64>) -> Opening<Self::Message>;

    /// Takes in where a call begins; returns the position of the stream.
    fn begin(&mut self, started: &Started, position: Option<u64>) -> Result<u64, Error>;
}

/// One stream, through all its calls.
///
/// The position is moved by what the calls say, and by each batch as it is handed over. Messages are read only when all
/// batches before are handed over, so that a call that follows an interrupted one begins at it.
pub(crate) struct Following<S: Source> {
    pub(crate) source: S,
    pub(crate) resumption: Resumption,
    incoming: Incoming<S::Message>,
    position: Option<u64>,
    /// Store and history.
    log: Option<(String, String)>,
    is_caught_up: bool,
    batches: VecDeque<v1::CommittedBatch>,
    /// Why the stream is over.
    ended_by: Option<Error>,
}

impl<S: Source> Following<S> {
    pub(crate) fn new(source: S, position: Option<u64>, resumption: Resumption) -> Self {
        Self {
            source,
            resumption,
            incoming: Incoming::new(),
            position,
            log: None,
            is_caught_up: false,
            batches: VecDeque::new(),
            ended_by: None,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }

    pub(crate) fn has_batch(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Ends the stream: it yields nothing more.
    pub(crate) fn end(&mut self, why: Error) {
        self.ended_by = Some(why);
        self.batches.clear();
        self.incoming.close();
    }

    /// Reads until the stream is open.
    pub(crate) fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_until(context, |following| following.resumption.is_open)
    }

    /// Returns the next batch, to be taken as delivered; `None` when the stream is over.
    pub(crate) fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<v1::CommittedBatch>, Error>> {
        ready!(self.poll_until(context, Self::has_batch))?;
        Poll::Ready(Ok(self.hand_over()))
    }

    /// Returns the next batch up to the head; `None` there, and so not when the stream is over.
    pub(crate) fn poll_until_caught_up(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<v1::CommittedBatch>, Error>> {
        ready!(self.poll_until(context, |following| following.has_batch() || following.is_caught_up))?;
        Poll::Ready(self.ended_by.clone().map_or_else(|| Ok(self.hand_over()), Err))
    }

    fn hand_over(&mut self) -> Option<v1::CommittedBatch> {
        let batch = self.batches.pop_front()?;
        self.reached(batch.last_sequence_number);
        Some(batch)
    }

    /// Reads until it is enough, or the stream is over, through as many calls as it takes.
    fn poll_until(&mut self, context: &mut Context<'_>, is_enough: impl Fn(&Self) -> bool) -> Poll<Result<(), Error>> {
        while self.ended_by.is_none() && !is_enough(self) {
            if let Err(error) = ready!(self.poll_message(context)) {
                self.end(error.clone());
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let (source, position) = (&self.source, self.position);
        let patience = || self.resumption.patience();
        let received = ready!(self.incoming.poll_receive(context, patience, || source.open(position)));
        let failure = match received {
            Received::Message(message) => {
                self.take(message.into())?;
                if !self.resumption.is_late() {
                    return Poll::Ready(Ok(()));
                }
                no_answer()
            }
            Received::Failure(failure) => failure,
            Received::End => Status::unavailable("the stream ended without a reason"),
            Received::Silence(time) => self.resumption.silence(time),
        };
        self.is_caught_up = false;
        Poll::Ready(self.resumption.delay_after(&failure).map(|delay| self.incoming.pause(delay)))
    }

    fn take(&mut self, content: Content) -> Result<(), Error> {
        let comes_further = match content {
            Content::Started(started) => {
                // The source first: whatever ends the stream now, this call has begun.
                let position = self.source.begin(&started, self.position);
                self.check_log(started.store_id, started.history_id)?;
                self.position = Some(position?);
                self.resumption.opened(duration(started.heartbeat_interval));
                return Ok(());
            }
            Content::Waiting => {
                self.resumption.waits();
                return Ok(());
            }
            Content::Batches(batches) => {
                self.batches.extend(batches);
                self.has_batch()
            }
            Content::Checkpoint(position) => {
                self.reached(position);
                true
            }
            Content::CaughtUp(head) => {
                self.is_caught_up = true;
                self.reached(head)
            }
            Content::Unknown => false,
        };
        if comes_further {
            self.resumption.progressed();
        }
        Ok(())
    }

    /// Returns whether the position has moved.
    fn reached(&mut self, sequence_number: u64) -> bool {
        let before = self.position;
        self.position = before.max(Some(sequence_number));
        self.position != before
    }

    fn check_log(&mut self, store_id: String, history_id: String) -> Result<(), Error> {
        let now = (store_id, history_id);
        match &self.log {
            Some(first) if *first != now => Err(Error::found(
                ErrorKind::LogDiverged,
                Code::DataLoss,
                "LOG_DIVERGED",
                format!(
                    "the stream began on the log {} / {}; the server has {} / {} now, where its positions mean \
                     nothing: read that one from the beginning",
                    first.0, first.1, now.0, now.1
                ),
            )),
            _ => {
                self.log = Some(now);
                Ok(())
            }
        }
    }
}

/// One stream's way through interruptions.
///
/// Until it has begun, the ordinary limits of a call hold. From then on it is taken up again for as long as it takes,
/// or for `give_up_after` in which it did not come further.
pub(crate) struct Resumption {
    store: EventStore,
    give_up_after: Option<Duration>,
    heartbeat: Duration,
    has_begun: bool,
    /// Whether a call has begun to deliver, and was not interrupted since.
    pub(crate) is_open: bool,
    attempts: Option<Attempts>,
}

/// Between the messages of a server that has not said yet how often they come.
const USUAL_HEARTBEAT: Duration = Duration::from_secs(10);
/// Beyond the heartbeats, for a server, a network or a caller's machine that is busy.
const GRACE: Duration = Duration::from_secs(5);

impl Resumption {
    pub(crate) fn new(store: EventStore, give_up_after: Option<Duration>) -> Self {
        Self { store, give_up_after, heartbeat: USUAL_HEARTBEAT, has_begun: false, is_open: false, attempts: None }
    }

    /// Returns the attempts of a call: once the stream has begun, as lasting as the stream itself.
    fn attempts(&self) -> Attempts {
        let effect = if self.has_begun { Effect::Stream { give_up_after: self.give_up_after } } else { Effect::Read };
        self.store.attempts(effect, None)
    }

    /// How long to wait for the next message.
    fn patience(&mut self) -> Duration {
        let silence = self.heartbeat.saturating_mul(3).saturating_add(GRACE);
        if self.is_open {
            return silence;
        }
        if !self.has_begun && self.attempts.is_none() {
            self.attempts = Some(self.attempts());
        }
        self.attempts.as_ref().map_or(silence, |attempts| silence.min(attempts.remaining()))
    }

    /// What it is that nothing has come for so long: before the first beginning it may be the end of the timeout.
    fn silence(&self, time: Duration) -> Status {
        if self.is_late() {
            return no_answer();
        }
        Status::unavailable(format!("the server said nothing for {time:?}"))
    }

    /// Whether the timeout has gone by before the first beginning, whatever came instead.
    fn is_late(&self) -> bool {
        !self.has_begun && self.attempts.as_ref().is_some_and(|attempts| attempts.remaining().is_zero())
    }

    /// A call has begun to deliver. A server may fail after each beginning, so this alone is no progress.
    fn opened(&mut self, heartbeat: Option<Duration>) {
        self.heartbeat = heartbeat.unwrap_or(USUAL_HEARTBEAT);
        self.is_open = true;
        if !self.has_begun {
            self.has_begun = true;
            self.attempts = None;
        }
    }

    /// The stream has come further; before it has begun, that is not believed.
    fn progressed(&mut self) {
        if self.has_begun {
            self.attempts = None;
        }
    }

    /// This consumer is to wait for its turn: from now on it lasts as one that has begun.
    fn waits(&mut self) {
        self.has_begun = true;
        self.attempts = None;
    }

    fn delay_after(&mut self, failure: &Status) -> Result<Duration, Error> {
        self.is_open = false;
        let mut attempts = self.attempts.take().unwrap_or_else(|| self.attempts());
        let delay = attempts.delay_after(failure);
        self.attempts = Some(attempts);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_heartbeat_can_be_waited_for() {
        let mut resumption = Resumption::new(crate::connect("localhost:1").unwrap(), None);
        for (said, patience) in [(None, 35), (Some(Duration::from_secs(1)), 8), (Some(Duration::MAX), u64::MAX)] {
            resumption.opened(said);
            assert_eq!(resumption.patience().as_secs(), patience);
        }
    }
}
