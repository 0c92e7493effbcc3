//! Owns durable streams: how far one has come under which lease, and which of its batches can still be acknowledged.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use crate::acknowledger::{Acknowledger, Receipt};
use crate::append::BoxFuture;
use crate::error::Error;
use crate::event::EventRecord;
use crate::following::{Content, Following, Resumption, Source, Started};
use crate::incoming::Opening;
use crate::live_stream::records;
use crate::query::EventQuery;
use crate::retry::check_time;
use crate::store::EventStore;
use crate::v1;
use crate::v1::{durable_stream_response, stream_all_durable_request, stream_to_durable_request};

/// A batch of a durable stream, to be acknowledged: what one append committed, or the facts of it that match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurableBatch {
    /// Of the first fact of the whole commit.
    pub first_sequence_number: u64,
    /// Of the last fact of the whole commit: a consumer that is done with this batch is done up to it.
    pub last_sequence_number: u64,
    /// The facts that match, in order.
    pub event_records: Vec<EventRecord>,
    /// Of the lease under which it was delivered. It only ever rises: a fencing number.
    pub lease_epoch: u64,
    acknowledgement_token: String,
}

impl DurableBatch {
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt {
            last_sequence_number: self.last_sequence_number,
            lease_epoch: self.lease_epoch,
            token: self.acknowledgement_token.clone(),
        }
    }
}

/// Where a new durable stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Strictly after a sequence number.
    After(u64),
    /// After the head.
    AtHead,
}

/// A durable stream that is set up: `.await` opens it. See [`EventStore::stream_to_durable`].
#[derive(Debug)]
#[must_use = "nothing is consumed without `.await`"]
pub struct StreamDurable<'a> {
    store: &'a EventStore,
    request: Request,
    give_up_after: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Request {
    name: String,
    query: DurableQuery,
    start: Option<Start>,
    max_unacknowledged_batches: u32,
    wait_for_lease: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum DurableQuery {
    All,
    Query(EventQuery),
}

impl<'a> StreamDurable<'a> {
    pub(crate) fn new(store: &'a EventStore, name: String, query: DurableQuery) -> Self {
        let request = Request { name, query, start: None, max_unacknowledged_batches: 0, wait_for_lease: false };
        Self { store, request, give_up_after: None }
    }

    /// Says where a new name starts, instead of before the first fact.
    pub fn start(mut self, start: Start) -> Self {
        self.request.start = Some(start);
        self
    }

    /// Has at most so many batches sent beyond the acknowledged ones; 0 is what the server finds right.
    pub fn max_unacknowledged_batches(mut self, batches: u32) -> Self {
        self.request.max_unacknowledged_batches = batches;
        self
    }

    /// Waits while another consumer holds the lease, for as long as it takes.
    pub fn wait_for_lease(mut self) -> Self {
        self.request.wait_for_lease = true;
        self
    }

    /// Gives up when, in so long, an interrupted stream has not come further. Otherwise it is taken up again for as
    /// long as it takes.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = Some(time);
        self
    }
}

impl<'a> IntoFuture for StreamDurable<'a> {
    type Output = Result<DurableStream, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// Is done when this consumer has the lease.
    fn into_future(self) -> Self::IntoFuture {
        let (store, request) = (self.store.clone(), self.request);
        let resumption = Resumption::new(store.clone(), self.give_up_after);
        let acknowledger = Acknowledger::new(store.clone(), request.name.clone(), self.give_up_after);
        let following = Following::new(Durable { store, request, acknowledger }, None, resumption);
        let mut stream = DurableStream { following };
        Box::pin(async move {
            check_time("give_up_after", self.give_up_after)?;
            poll_fn(|context| stream.following.poll_open(context)).await?;
            stream.shared().set_open(true);
            Ok(stream)
        })
    }
}

/// The batches of a durable stream, in commit order, each at least once, without an end.
///
/// An interruption that may pass is gone over: the stream is taken up again under a new lease, after the cursor that
/// the store keeps, so what was not acknowledged is delivered again. Where another consumer has taken the lease
/// meanwhile, this one waits until it is free.
///
/// It is a [`Stream`]; whoever has no use for that calls [`try_next`](DurableStream::try_next). Dropping it closes it,
/// and ends the lease.
pub struct DurableStream {
    following: Following<Durable>,
}

impl DurableStream {
    /// Returns the next batch; `None` after an error has ended the stream. Safe to cancel: in a `select!`, for example,
    /// neither the stream nor a batch is lost.
    ///
    /// # Errors
    ///
    /// What will not pass, such as [`LeaseLost`](crate::ErrorKind::LeaseLost) when the stream was reset or deleted by
    /// force, or [`LogDiverged`](crate::ErrorKind::LogDiverged) when the log has become another one.
    pub async fn try_next(&mut self) -> Result<Option<DurableBatch>, Error> {
        poll_fn(|context| self.poll_with(context, Following::poll_batch)).await
    }

    /// Returns the next batch up to the head; `None` there, and the stream itself then goes on. Safe to cancel.
    ///
    /// # Errors
    ///
    /// As of [`try_next`](DurableStream::try_next). One that has ended the stream is returned each time: the head was
    /// not reached.
    pub async fn until_caught_up(&mut self) -> Result<Option<DurableBatch>, Error> {
        poll_fn(|context| self.poll_with(context, Following::poll_until_caught_up)).await
    }

    /// Acknowledges this batch and all before it; returns the cursor.
    ///
    /// Does nothing for a batch that came before an interruption that this stream has gone over since: it is delivered
    /// again. Repeated for as long as the stream itself would be taken up again.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) and
    /// [`DurableStreamNotFound`](crate::ErrorKind::DurableStreamNotFound) when the stream was reset, deleted or taken;
    /// then it is over, and reading it says so too.
    pub async fn acknowledge(&mut self, batch: &DurableBatch) -> Result<u64, Error> {
        self.shared().acknowledge(batch).await
    }

    /// Returns what acknowledges while this stream is being read, for another task.
    #[must_use]
    pub fn acknowledger(&self) -> Acknowledger {
        self.shared().clone()
    }

    /// Returns the position: everything up to it was handed over or does not match. It goes back to the cursor when the
    /// stream is taken up again.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.following.position()
    }

    /// Returns the cursor, as the store last said: everything up to it is acknowledged or does not match.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.shared().cursor()
    }

    /// Returns the epoch of the lease: a fencing number. It rises whenever the stream is taken up again.
    #[must_use]
    pub fn lease_epoch(&self) -> u64 {
        self.shared().lease_epoch()
    }

    /// Whether a further batch has come, and waits to be handed over.
    pub(crate) fn has_batch(&self) -> bool {
        self.following.has_batch()
    }

    fn shared(&self) -> &Acknowledger {
        &self.following.source.acknowledger
    }

    fn poll_with(&mut self, context: &mut Context<'_>, poll: PollBatch) -> Poll<Result<Option<DurableBatch>, Error>> {
        if let Some(error) = self.shared().lost(context.waker()) {
            self.following.end(error.clone());
            return Poll::Ready(Err(error));
        }
        let polled = poll(&mut self.following, context);
        self.shared().set_open(self.following.resumption.is_open);
        polled.map_ok(|found| found.map(|message| self.batch(message)))
    }

    fn batch(&self, message: v1::CommittedBatch) -> DurableBatch {
        DurableBatch {
            first_sequence_number: message.first_sequence_number,
            last_sequence_number: message.last_sequence_number,
            event_records: records(message.event_records),
            lease_epoch: self.lease_epoch(),
            acknowledgement_token: message.acknowledgement_token,
        }
    }
}

type PollBatch = fn(&mut Following<Durable>, &mut Context<'_>) -> Poll<Result<Option<v1::CommittedBatch>, Error>>;

impl Stream for DurableStream {
    type Item = Result<DurableBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_with(context, Following::poll_batch).map(Result::transpose)
    }
}

impl Drop for DurableStream {
    fn drop(&mut self) {
        self.shared().end_lease();
    }
}

impl fmt::Debug for DurableStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DurableStream")
            .field("name", &self.following.source.request.name)
            .field("cursor", &self.cursor())
            .field("lease_epoch", &self.lease_epoch())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// Begun, and gone on with, after the cursor that the store keeps.
struct Durable {
    store: EventStore,
    request: Request,
    acknowledger: Acknowledger,
}

impl Source for Durable {
    type Message = v1::DurableStreamResponse;

    fn open(&self, _: Option<u64>) -> Opening<v1::DurableStreamResponse> {
        use stream_all_durable_request::Start as AllStart;
        use stream_to_durable_request::Start as ToStart;

        let mut stub = self.store.event_store_stub();
        let Request { name, query, start, max_unacknowledged_batches, wait_for_lease } = self.request.clone();
        match query {
            DurableQuery::All => {
                let request = v1::StreamAllDurableRequest {
                    durable_stream: name,
                    max_unacknowledged_batches,
                    wait_for_lease,
                    start: start.map(|start| match start {
                        Start::After(sequence_number) => AllStart::StartAfterSequenceNumber(sequence_number),
                        Start::AtHead => AllStart::StartAtHead(true),
                    }),
                };
                Box::pin(async move { stub.stream_all_durable(request).await })
            }
            DurableQuery::Query(query) => {
                let request = v1::StreamToDurableRequest {
                    durable_stream: name,
                    query: Some(query.into_message()),
                    max_unacknowledged_batches,
                    wait_for_lease,
                    start: start.map(|start| match start {
                        Start::After(sequence_number) => ToStart::StartAfterSequenceNumber(sequence_number),
                        Start::AtHead => ToStart::StartAtHead(true),
                    }),
                };
                Box::pin(async move { stub.stream_to_durable(request).await })
            }
        }
    }

    fn begin(&mut self, started: &Started, _: Option<u64>) -> Result<u64, Error> {
        // Every later call follows an interrupted one. The server may not have noticed that, and hold this consumer's
        // own lease; and where a new name starts is no matter for an old one.
        self.request.wait_for_lease = true;
        self.request.start = None;
        self.acknowledger.begin(started)
    }
}

impl From<v1::DurableStreamResponse> for Content {
    fn from(message: v1::DurableStreamResponse) -> Self {
        match message.content {
            Some(durable_stream_response::Content::Started(started)) => Self::Started(Started {
                after: started.cursor,
                lease_epoch: started.lease_epoch,
                store_id: started.store_id,
                history_id: started.history_id,
                heartbeat_interval: started.heartbeat_interval,
            }),
            Some(durable_stream_response::Content::Batches(committed)) => Self::Batches(committed.batches),
            Some(durable_stream_response::Content::CaughtUp(caught_up)) => {
                Self::CaughtUp(caught_up.head_sequence_number)
            }
            Some(durable_stream_response::Content::Checkpoint(checkpoint)) => {
                Self::Checkpoint(checkpoint.sequence_number)
            }
            Some(durable_stream_response::Content::Waiting(_)) => Self::Waiting,
            None => Self::Unknown,
        }
    }
}
