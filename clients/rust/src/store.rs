//! Owns the connected store: what its operations stand on, and one method for each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::append::{Append, Condition};
use crate::connect::Transport;
use crate::decide::{Decide, ReadContext};
use crate::durable_stream::{DurableBatch, DurableQuery, StreamDurable};
use crate::error::Error;
use crate::event::{Context, Event};
use crate::live_stream::{Follow, Followed};
use crate::project::Project;
use crate::query::EventQuery;
use crate::query_result::Query;
use crate::retry::{Attempts, Effect, EndedLeases, Retries};
use crate::v1::durable_stream_service_client::DurableStreamServiceClient;
use crate::v1::event_store_service_client::EventStoreServiceClient;
use crate::v1::server_service_client::ServerServiceClient;

/// A FACTSTR event store: see [`connect`](crate::connect).
///
/// A clone is the same store on the same channel, and costs next to nothing. The channel is closed with the last of the
/// clones, streams and results.
///
/// Operations are set up by methods and done by `.await`. Dropping what is awaited cancels it: then it is not repeated,
/// and an append may or may not have been committed.
#[derive(Clone)]
pub struct EventStore(Arc<Inner>);

struct Inner {
    transport: Transport,
    timeout: Duration,
    retries: Retries,
    ended_leases: EndedLeases,
}

impl EventStore {
    pub(crate) fn new(transport: Transport, timeout: Duration, retries: Retries) -> Self {
        Self(Arc::new(Inner { transport, timeout, retries, ended_leases: EndedLeases::default() }))
    }

    /// Commits one event, or several as one batch: all or none, durable when this is done.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use factstr_client::Event;
    ///
    /// store.append(Event::new("noon", ())?).await?;
    /// store.append([Event::new("one", 1)?, Event::new("two", 2)?]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) when it may or may not have been committed; after any other
    /// it was not.
    pub fn append(&self, events: impl Into<Vec<Event>>) -> Append<'_> {
        Append::new(self, events.into(), None)
    }

    /// Commits a batch only if the query's context has exactly the expected version; `None` expects no fact at all.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) when it has another one; the others are those of
    /// [`append`](EventStore::append).
    pub fn append_if(
        &self,
        events: impl Into<Vec<Event>>,
        query: impl Into<EventQuery>,
        expected_context_version: Option<u64>,
    ) -> Append<'_> {
        let condition = Condition { query: query.into(), expected_context_version };
        Append::new(self, events.into(), Some(condition))
    }

    /// Reads the facts that match, in one snapshot, oldest first.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use factstr_client::{EventQuery, Order};
    ///
    /// let mut newest = store.query(EventQuery::all()).order(Order::Descending).limit(10).await?;
    /// while let Some(record) = newest.try_next().await? {
    ///     println!("{} {}", record.sequence_number, record.event_type);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(&self, query: impl Into<EventQuery>) -> Query<'_> {
        Query::new(self, query.into())
    }

    /// Reads all facts that match, and their version, to decide on.
    pub fn read_context(&self, query: impl Into<EventQuery>) -> ReadContext<'_> {
        ReadContext::new(self, query.into())
    }

    /// Reads a context, asks the decision for events, and appends them on the condition that the context is unchanged.
    ///
    /// On a conflict it does so again, at most 10 times in all, after a random wait of at most 10 ms, doubled each time
    /// up to 500 ms. Without events nothing is appended, and the result is `None`. An error of the decision goes to the
    /// caller, and nothing is appended; the decision's type of errors takes those of the store in.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use factstr_client::{Context, Error, Event, EventFilter};
    /// use serde_json::json;
    ///
    /// let drill = EventFilter::new().payload(json!({"tool": {"id": "drill-1"}}))?;
    /// let register = |context: &Context| match context.version {
    ///     None => Ok(vec![Event::new("tool-registered", json!({"tool": {"id": "drill-1"}}))?]),
    ///     Some(_) => Ok::<_, Error>(vec![]),
    /// };
    /// let appended = store.decide(&drill, register).await?;
    /// # let _ = appended;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The decision's own; the last [`Conflict`](crate::ErrorKind::Conflict) after the last attempt; those of
    /// [`append`](EventStore::append), and of reading.
    pub fn decide<D, E>(&self, query: impl Into<EventQuery>, decision: D) -> Decide<'_, D>
    where
        D: FnMut(&Context) -> Result<Vec<Event>, E>,
        E: From<Error>,
    {
        Decide::new(self, query.into(), decision)
    }

    /// Follows the facts that match: committed batches, from now on, or after a position.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use factstr_client::EventFilter;
    ///
    /// let mut stream = store.stream_to(EventFilter::new().event_types(["tool-returned"])).after(0).await?;
    /// while let Some(batch) = stream.try_next().await? {
    ///     println!("{}", batch.last_sequence_number);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CursorAheadOfLog`](crate::ErrorKind::CursorAheadOfLog) when the log does not reach so far.
    pub fn stream_to(&self, query: impl Into<EventQuery>) -> Follow<'_> {
        Follow::new(self, Followed::Query(query.into()))
    }

    /// Follows all facts: see [`stream_to`](EventStore::stream_to).
    pub fn stream_all(&self) -> Follow<'_> {
        Follow::new(self, Followed::All)
    }

    /// Consumes the facts that match under a name, whose cursor the store keeps.
    ///
    /// The name is bound to the query. One consumer at a time has its lease.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use factstr_client::EventFilter;
    ///
    /// let returned = EventFilter::new().event_types(["tool-returned"]);
    /// let mut stream = store.stream_to_durable("returns", returned).wait_for_lease().await?;
    /// while let Some(batch) = stream.until_caught_up().await? {
    ///     println!("{}", batch.last_sequence_number);
    ///     stream.acknowledge(&batch).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DurableStreamActive`](crate::ErrorKind::DurableStreamActive) while another consumer has the lease and this one
    /// does not wait for it; [`QueryMismatch`](crate::ErrorKind::QueryMismatch) when the name is bound to another
    /// query.
    pub fn stream_to_durable(&self, name: impl Into<String>, query: impl Into<EventQuery>) -> StreamDurable<'_> {
        StreamDurable::new(self, name.into(), DurableQuery::Query(query.into()))
    }

    /// Consumes all facts under a name: see [`stream_to_durable`](EventStore::stream_to_durable).
    pub fn stream_all_durable(&self, name: impl Into<String>) -> StreamDurable<'_> {
        StreamDurable::new(self, name.into(), DurableQuery::All)
    }

    /// Runs a handler on each batch of a durable stream, and acknowledges it after the handler has returned.
    ///
    /// What has come together is acknowledged together: once all of it is handled, or a tenth of a second has gone by.
    /// So after a crash the last few batches are handled again: delivery is at least once. Write the last sequence
    /// number in the same transaction as the table, leave out what it covers already, and each counts exactly once.
    ///
    /// ```no_run
    /// # async fn example(store: factstr_client::EventStore) -> Result<(), factstr_client::Error> {
    /// use std::future::ready;
    ///
    /// use factstr_client::{DurableBatch, Error, EventQuery};
    ///
    /// let mut facts = 0;
    /// let count = |batch: DurableBatch| {
    ///     facts += batch.event_records.len();
    ///     ready(Ok::<_, Error>(()))
    /// };
    /// store.project("count", EventQuery::all(), count).stop_when_caught_up().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The handler's own, whose type takes those of the store in: then what was handled before is acknowledged, that
    /// batch is not, and the stream is closed. Those of [`DurableStream`](crate::DurableStream).
    ///
    /// # Cancelling
    ///
    /// Dropped, or panicking in the handler, it still acknowledges what was handled before: in a task of the runtime, for
    /// at most five seconds.
    pub fn project<H, F, E>(&self, name: impl Into<String>, query: impl Into<EventQuery>, handler: H) -> Project<'_, H>
    where
        H: FnMut(DurableBatch) -> F,
        F: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        Project::new(self.stream_to_durable(name, query), handler)
    }

    /// Returns the generated stub for appending, querying and streaming, with this store's channel and token.
    ///
    /// Its calls are plain calls of gRPC: without timeouts and repetitions.
    #[must_use]
    pub fn event_store_stub(&self) -> EventStoreServiceClient<Transport> {
        EventStoreServiceClient::new(self.0.transport.clone())
    }

    /// Returns the generated stub for seeing, moving, deleting and awaiting durable streams: see
    /// [`event_store_stub`](EventStore::event_store_stub).
    #[must_use]
    pub fn durable_stream_stub(&self) -> DurableStreamServiceClient<Transport> {
        DurableStreamServiceClient::new(self.0.transport.clone())
    }

    /// Returns the generated stub for what the server is and allows: see
    /// [`event_store_stub`](EventStore::event_store_stub).
    #[must_use]
    pub fn server_stub(&self) -> ServerServiceClient<Transport> {
        ServerServiceClient::new(self.0.transport.clone())
    }

    pub(crate) fn attempts(&self, effect: Effect, timeout: Option<Duration>) -> Attempts {
        let Inner { timeout: usual, retries, ended_leases, .. } = &*self.0;
        Attempts::new(*retries, timeout.unwrap_or(*usual), effect, ended_leases.clone())
    }

    /// Whether anything is repeated at all.
    pub(crate) fn repeats(&self) -> bool {
        self.0.retries.limit > 0
    }

    /// Takes note of a lease that this store is done with: the server may notice a little later.
    pub(crate) fn end_lease(&self, lease_epoch: u64) {
        self.0.ended_leases.insert(lease_epoch);
    }

    /// Calls until it succeeds, or must not be repeated.
    pub(crate) async fn call<Q: Clone, R>(
        &self,
        request: &Q,
        mut attempts: Attempts,
        send: impl AsyncFn(EventStoreServiceClient<Transport>, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Error> {
        loop {
            let remaining = attempts.remaining();
            let mut message = Request::new(request.clone());
            if remaining < LONGEST_DEADLINE {
                message.set_timeout(remaining);
            }
            // By itself a deadline of tonic's ends a call only until the first of the response has come.
            let failure = match tokio::time::timeout(remaining, send(self.event_store_stub(), message)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(failure)) => failure,
                Err(_) => no_answer(),
            };
            tokio::time::sleep(attempts.delay_after(&failure)?).await;
        }
    }
}

impl fmt::Debug for EventStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventStore")
            .field("timeout", &self.0.timeout)
            .field("retries", &self.0.retries)
            .finish_non_exhaustive()
    }
}

/// Longer ones are not sent: gRPC has no header for all of them.
const LONGEST_DEADLINE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a call gets whose time has gone by.
pub(crate) fn no_answer() -> Status {
    Status::deadline_exceeded("the server did not answer in time")
}
