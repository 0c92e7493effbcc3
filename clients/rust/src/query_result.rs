//! Owns the reading of a query's result, across lost connections.
//!
//! The log is immutable, so the rest of a snapshot can be asked for again, exactly: the facts after the last one that
//! was returned, up to the context version that the first message named.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use std::vec;

use futures_core::Stream;
use tonic::{Code, Status};

use crate::append::BoxFuture;
use crate::error::{Error, ErrorKind};
use crate::event::{Context, EventRecord};
use crate::incoming::{Incoming, Received};
use crate::query::EventQuery;
use crate::retry::{Attempts, Effect, check_time, may_repeat};
use crate::store::{EventStore, no_answer};
use crate::v1;

/// The order of returned facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// A query that is set up: `.await` asks it. See [`EventStore::query`].
#[derive(Debug)]
#[must_use = "nothing is asked without `.await`"]
pub struct Query<'a> {
    store: &'a EventStore,
    query: EventQuery,
    limit: Option<u64>,
    order: Order,
    before: Option<u64>,
    timeout: Option<Duration>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(store: &'a EventStore, query: EventQuery) -> Self {
        Self { store, query, limit: None, order: Order::Ascending, before: None, timeout: None }
    }

    /// Returns at most so many facts; 0 returns none, only the context version.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Returns the facts in this order.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Returns only facts strictly before a sequence number. It never narrows the context version.
    pub fn before(mut self, sequence_number: u64) -> Self {
        self.before = Some(sequence_number);
        self
    }

    /// Bounds each wait for the server, instead of the store's timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.maybe_timeout(Some(timeout))
    }

    pub(crate) fn maybe_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reads all of it.
    pub(crate) async fn context(self) -> Result<Context, Error> {
        let mut result = self.await?;
        let mut records = Vec::new();
        while let Some(record) = result.try_next().await? {
            records.push(record);
        }
        Ok(Context { records, version: result.context_version() })
    }
}

impl<'a> IntoFuture for Query<'a> {
    type Output = Result<QueryResult, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// Reads the first message: it names the context version, and an error belongs to the query itself.
    fn into_future(self) -> Self::IntoFuture {
        let mut result = QueryResult {
            store: self.store.clone(),
            timeout: self.timeout,
            reading: Reading::new(self.query.into_message(), self.limit, self.order, self.before),
            records: Vec::new().into_iter(),
            incoming: Incoming::new(),
            attempts: None,
            is_over: false,
        };
        Box::pin(async {
            check_time("timeout", result.timeout)?;
            poll_fn(|context| result.poll_part(context)).await?;
            Ok(result)
        })
    }
}

/// The facts that a query returns, in the order asked, read from the server as they are asked for.
///
/// A result of any size takes bounded memory, and is one snapshot even when the connection is lost in the middle. It is
/// a [`Stream`]; whoever has no use for that calls [`try_next`](QueryResult::try_next). Dropping it ends the reading.
pub struct QueryResult {
    store: EventStore,
    timeout: Option<Duration>,
    reading: Reading,
    records: vec::IntoIter<v1::EventRecord>,
    incoming: Incoming<v1::QueryResponse>,
    /// Of the wait under way.
    attempts: Option<Attempts>,
    is_over: bool,
}

impl QueryResult {
    /// Returns the version of the full context in this snapshot; `None` when no fact matches.
    #[must_use]
    pub fn context_version(&self) -> Option<u64> {
        self.reading.context_version
    }

    /// Returns the sequence number of the last fact received so far, in the order asked; `None` while there was none.
    #[must_use]
    pub fn last_returned_sequence_number(&self) -> Option<u64> {
        self.reading.last_returned
    }

    /// Returns the next fact; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    ///
    /// What will not pass, or has not passed within the timeout and the limit of repetitions, which begin anew with
    /// each part of the result.
    pub async fn try_next(&mut self) -> Result<Option<EventRecord>, Error> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await.transpose()
    }

    /// Reads the next message, or the end.
    fn poll_part(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let attempts = self.attempts.get_or_insert_with(|| self.store.attempts(Effect::Read, self.timeout));
            let open = || {
                let (mut stub, request) = (self.store.event_store_stub(), self.reading.request());
                Box::pin(async move { stub.query(request).await }) as _
            };
            match ready!(self.incoming.poll_receive(context, || attempts.remaining(), open)) {
                Received::Message(message) => {
                    // A server that has nothing of the rest, time and again, does not come further.
                    if !self.reading.has_begun || !message.event_records.is_empty() {
                        self.attempts = None;
                    }
                    let taken = self.reading.take(message);
                    self.is_over = taken.is_err();
                    return Poll::Ready(taken.map(|records| self.records = records));
                }
                // Even an empty result has a message.
                Received::End if self.reading.may_be_complete() => {
                    self.is_over = true;
                    return Poll::Ready(Ok(()));
                }
                Received::End => self.interrupted(&Status::unavailable("the result ended before all of it came"))?,
                Received::Failure(failure) => self.interrupted(&failure)?,
                Received::Silence(_) => self.interrupted(&no_answer())?,
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn interrupted(&mut self, failure: &Status) -> Result<(), Error> {
        self.reading.is_answered = false;
        if self.reading.is_complete() && may_repeat(&Error::from_status(failure, false), Effect::Read) {
            self.is_over = true;
            return Ok(());
        }
        let attempts = self.attempts.as_mut().expect("a wait has attempts");
        match attempts.delay_after(failure) {
            Ok(delay) => {
                self.incoming.pause(delay);
                Ok(())
            }
            Err(error) => {
                self.is_over = true;
                Err(error)
            }
        }
    }
}

impl Stream for QueryResult {
    type Item = Result<EventRecord, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.records.next() {
                return Poll::Ready(Some(Ok(EventRecord::from_message(record))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(self.poll_part(context)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QueryResult").field("reading", &self.reading).finish_non_exhaustive()
    }
}

/// How far a result has been read.
#[derive(Debug)]
struct Reading {
    query: v1::EventQuery,
    limit: Option<u64>,
    order: Order,
    before: Option<u64>,
    /// Whether the caller has said where it ends.
    is_cut: bool,
    has_begun: bool,
    /// Whether the call under way has brought a message.
    is_answered: bool,
    context_version: Option<u64>,
    last_returned: Option<u64>,
}

impl Reading {
    fn new(query: v1::EventQuery, limit: Option<u64>, order: Order, before: Option<u64>) -> Self {
        Self {
            query,
            limit,
            order,
            before,
            is_cut: before.is_some(),
            has_begun: false,
            is_answered: false,
            context_version: None,
            last_returned: None,
        }
    }

    /// Takes in a message: what is left to be asked for is what comes after it.
    fn take(&mut self, message: v1::QueryResponse) -> Result<vec::IntoIter<v1::EventRecord>, Error> {
        if !self.is_answered {
            self.is_answered = true;
            self.check_log(message.current_context_version)?;
        }
        if !self.has_begun {
            self.has_begun = true;
            self.context_version = message.current_context_version;
            let end = self.context_version.unwrap_or(0).saturating_add(1);
            self.before = Some(self.before.map_or(end, |before| before.min(end)));
        }
        if let Some(last) = message.event_records.last().map(|record| record.sequence_number) {
            self.last_returned = Some(last);
            match self.order {
                Order::Ascending => self.query.min_sequence_number = Some(last),
                Order::Descending => self.before = Some(last),
            }
            let returned = u64::try_from(message.event_records.len()).unwrap_or(u64::MAX);
            self.limit = self.limit.map(|limit| limit.saturating_sub(returned));
        }
        Ok(message.event_records.into_iter())
    }

    /// No log grows shorter, nor does a context.
    fn check_log(&self, version: Option<u64>) -> Result<(), Error> {
        if version >= self.context_version {
            return Ok(());
        }
        let [first, now] = [self.context_version, version]
            .map(|version| version.map_or_else(|| "none".to_owned(), |version| version.to_string()));
        Err(Error::found(
            ErrorKind::LogDiverged,
            Code::DataLoss,
            "LOG_DIVERGED",
            format!(
                "the result began at the context version {first}; the server has {now} now: its log is another one, or \
                 has lost its tail"
            ),
        ))
    }

    /// Whether nothing is left to be asked for.
    fn is_complete(&self) -> bool {
        let first = self.query.min_sequence_number.unwrap_or(0).saturating_add(1);
        self.has_begun && (self.limit == Some(0) || self.before.is_some_and(|before| first >= before))
    }

    /// Whether a call that ends now has brought all. Beforehand that is known only where the last fact is the context's.
    fn may_be_complete(&self) -> bool {
        self.is_answered && (self.is_complete() || self.is_cut || self.order == Order::Descending)
    }

    /// Returns the request for what is left.
    fn request(&self) -> v1::QueryRequest {
        let order = match self.order {
            Order::Ascending => v1::Order::Ascending,
            Order::Descending => v1::Order::Descending,
        };
        v1::QueryRequest {
            query: Some(self.query.clone()),
            limit: self.limit,
            order: order.into(),
            before_sequence_number: self.before,
        }
    }
}
