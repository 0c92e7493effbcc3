//! Owns reading a context, and deciding on it until nobody was faster.

use std::future::IntoFuture;
use std::time::Duration;

use crate::append::BoxFuture;
use crate::error::Error;
use crate::event::{AppendResult, Context, Event};
use crate::query::EventQuery;
use crate::query_result::Query;
use crate::retry::conflict_delay;
use crate::store::EventStore;

/// A reading of a context that is set up: `.await` does it. See [`EventStore::read_context`].
#[derive(Debug)]
#[must_use = "nothing is read without `.await`"]
pub struct ReadContext<'a> {
    query: Query<'a>,
}

impl<'a> ReadContext<'a> {
    pub(crate) fn new(store: &'a EventStore, query: EventQuery) -> Self {
        Self { query: Query::new(store, query) }
    }

    /// Bounds each wait for the server, instead of the store's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.query = self.query.timeout(timeout);
        self
    }
}

impl<'a> IntoFuture for ReadContext<'a> {
    type Output = Result<Context, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.query.context())
    }
}

/// A decision that is set up: `.await` makes it. See [`EventStore::decide`].
#[must_use = "nothing is decided without `.await`"]
pub struct Decide<'a, D> {
    store: &'a EventStore,
    query: EventQuery,
    decision: D,
    attempts: u32,
    timeout: Option<Duration>,
}

impl<'a, D> Decide<'a, D> {
    pub(crate) fn new(store: &'a EventStore, query: EventQuery, decision: D) -> Self {
        Self { store, query, decision, attempts: 10, timeout: None }
    }

    /// Decides at most so often: 10 unless set. 0 is wrong usage.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Bounds each call, instead of the store's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run<E>(mut self) -> Result<Option<AppendResult>, E>
    where
        D: FnMut(&Context) -> Result<Vec<Event>, E>,
        E: From<Error>,
    {
        if self.attempts == 0 {
            return Err(Error::usage("attempts is 0; a decision takes at least one").into());
        }
        let mut attempt = 1;
        loop {
            let context = Query::new(self.store, self.query.clone()).maybe_timeout(self.timeout).context().await?;
            let events = (self.decision)(&context)?;
            if events.is_empty() {
                return Ok(None);
            }
            match self.store.append_if(events, &self.query, context.version).maybe_timeout(self.timeout).await {
                Err(error) if error.is_conflict() && attempt < self.attempts => {
                    tokio::time::sleep(conflict_delay(attempt - 1)).await;
                    attempt += 1;
                }
                outcome => return Ok(Some(outcome?)),
            }
        }
    }
}

impl<'a, D, E> IntoFuture for Decide<'a, D>
where
    D: FnMut(&Context) -> Result<Vec<Event>, E> + Send + 'a,
    E: From<Error> + Send + 'a,
{
    type Output = Result<Option<AppendResult>, E>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<D> std::fmt::Debug for Decide<'_, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Decide")
            .field("query", &self.query)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
