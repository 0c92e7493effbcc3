//! Owns live streams: committed batches as they are committed, or from a position on.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tonic::Code;

use crate::append::BoxFuture;
use crate::error::{Error, ErrorKind};
use crate::event::EventRecord;
use crate::following::{Content, Following, Resumption, Source, Started};
use crate::incoming::Opening;
use crate::query::EventQuery;
use crate::retry::check_time;
use crate::store::EventStore;
use crate::v1;
use crate::v1::stream_response;

/// What one append committed, or the facts of it that match the stream's query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedBatch {
    /// Of the first fact of the whole commit.
    pub first_sequence_number: u64,
    /// Of the last fact of the whole commit: a reader that is done with this batch is done up to it.
    pub last_sequence_number: u64,
    /// The facts that match, in order.
    pub event_records: Vec<EventRecord>,
}

/// A live stream that is set up: `.await` opens it. See [`EventStore::stream_to`].
#[derive(Debug)]
#[must_use = "nothing is followed without `.await`"]
pub struct Follow<'a> {
    store: &'a EventStore,
    followed: Followed,
    after: Option<u64>,
    give_up_after: Option<Duration>,
}

#[derive(Debug)]
pub(crate) enum Followed {
    All,
    Query(EventQuery),
}

impl<'a> Follow<'a> {
    pub(crate) fn new(store: &'a EventStore, followed: Followed) -> Self {
        Self { store, followed, after: None, give_up_after: None }
    }

    /// First replays everything strictly after a sequence number (0: from the beginning).
    pub fn after(mut self, sequence_number: u64) -> Self {
        self.after = Some(sequence_number);
        self
    }

    /// Gives up when, in so long, an interrupted stream has not come further. Otherwise it is taken up again for as
    /// long as it takes.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = Some(time);
        self
    }
}

impl<'a> IntoFuture for Follow<'a> {
    type Output = Result<LiveStream, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// Is done when registration is active: what is appended from then on will be delivered.
    fn into_future(self) -> Self::IntoFuture {
        let source = Live { store: self.store.clone(), followed: self.followed };
        let resumption = Resumption::new(self.store.clone(), self.give_up_after);
        let mut following = Following::new(source, self.after, resumption);
        Box::pin(async move {
            check_time("give_up_after", self.give_up_after)?;
            poll_fn(|context| following.poll_open(context)).await?;
            Ok(LiveStream { following })
        })
    }
}

/// Committed batches, whole and in commit order, each once, without an end.
///
/// An interruption that may pass (a lost connection, a server that stops or is busy) is gone over without a batch lost
/// or repeated. What will not pass is an error, and then the stream is over; so it is when the server's log has become
/// another one ([`LogDiverged`](crate::ErrorKind::LogDiverged)).
///
/// It is a [`Stream`]; whoever has no use for that calls [`try_next`](LiveStream::try_next). Dropping it closes it.
pub struct LiveStream {
    following: Following<Live>,
}

impl LiveStream {
    /// Returns the next batch; `None` after an error has ended the stream. Safe to cancel: in a `select!`, for example,
    /// neither the stream nor a batch is lost.
    ///
    /// # Errors
    ///
    /// What will not pass: see [`LiveStream`].
    pub async fn try_next(&mut self) -> Result<Option<CommittedBatch>, Error> {
        Ok(poll_fn(|context| self.following.poll_batch(context)).await?.map(batch))
    }

    /// Returns the next batch up to the head; `None` there, and the stream itself then goes on. Safe to cancel.
    ///
    /// # Errors
    ///
    /// As of [`try_next`](LiveStream::try_next). One that has ended the stream is returned each time: the head was not
    /// reached.
    pub async fn until_caught_up(&mut self) -> Result<Option<CommittedBatch>, Error> {
        Ok(poll_fn(|context| self.following.poll_until_caught_up(context)).await?.map(batch))
    }

    /// Returns the position: everything up to it was handed over or does not match.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.following.position()
    }
}

impl Stream for LiveStream {
    type Item = Result<CommittedBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.following.poll_batch(context).map(|batch_or_end| batch_or_end.map(|found| found.map(batch)).transpose())
    }
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LiveStream").field("position", &self.position()).finish_non_exhaustive()
    }
}

fn batch(message: v1::CommittedBatch) -> CommittedBatch {
    CommittedBatch {
        first_sequence_number: message.first_sequence_number,
        last_sequence_number: message.last_sequence_number,
        event_records: records(message.event_records),
    }
}

pub(crate) fn records(messages: Vec<v1::EventRecord>) -> Vec<EventRecord> {
    messages.into_iter().map(EventRecord::from_message).collect()
}

/// Begun where it was asked to, and gone on with from its position.
struct Live {
    store: EventStore,
    followed: Followed,
}

impl Source for Live {
    type Message = v1::StreamResponse;

    fn open(&self, position: Option<u64>) -> Opening<v1::StreamResponse> {
        let mut stub = self.store.event_store_stub();
        match &self.followed {
            Followed::All => {
                let request = v1::StreamAllRequest { after_sequence_number: position };
                Box::pin(async move { stub.stream_all(request).await })
            }
            Followed::Query(query) => {
                let query = Some(query.clone().into_message());
                let request = v1::StreamToRequest { query, after_sequence_number: position };
                Box::pin(async move { stub.stream_to(request).await })
            }
        }
    }

    fn begin(&mut self, started: &Started, position: Option<u64>) -> Result<u64, Error> {
        match position {
            Some(position) if started.after > position => Err(Error::found(
                ErrorKind::ServerError,
                Code::Internal,
                "INTERNAL",
                format!("the stream was asked for after {position}, but begins after {}", started.after),
            )),
            _ => Ok(position.unwrap_or(started.after)),
        }
    }
}

impl From<v1::StreamResponse> for Content {
    fn from(message: v1::StreamResponse) -> Self {
        match message.content {
            Some(stream_response::Content::Started(started)) => Self::Started(Started {
                after: started.after_sequence_number,
                lease_epoch: 0,
                store_id: started.store_id,
                history_id: started.history_id,
                heartbeat_interval: started.heartbeat_interval,
            }),
            Some(stream_response::Content::Batches(committed)) => Self::Batches(committed.batches),
            Some(stream_response::Content::CaughtUp(caught_up)) => Self::CaughtUp(caught_up.head_sequence_number),
            Some(stream_response::Content::Checkpoint(checkpoint)) => Self::Checkpoint(checkpoint.sequence_number),
            None => Self::Unknown,
        }
    }
}
