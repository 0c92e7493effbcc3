//! Owns appending: with a key of the caller's or one made here, so that it can be repeated.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::event::{AppendResult, Event};
use crate::query::EventQuery;
use crate::retry::Effect;
use crate::store::EventStore;
use crate::v1;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request of at most so many bytes is sent. gRPC would refuse a larger one with a status that leaves the outcome open.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// An append that is set up: `.await` does it. See [`EventStore::append`].
#[derive(Debug)]
#[must_use = "nothing is appended without `.await`"]
pub struct Append<'a> {
    store: &'a EventStore,
    events: Vec<Event>,
    options: Options,
}

/// A conditional append that is set up: `.await` does it. See [`EventStore::append_if`].
#[derive(Debug)]
#[must_use = "nothing is appended without `.await`"]
pub struct AppendIf<'a> {
    store: &'a EventStore,
    events: Vec<Event>,
    query: EventQuery,
    expected_context_version: Option<u64>,
    options: Options,
}

#[derive(Debug, Default)]
struct Options {
    idempotency_key: Option<String>,
    timeout: Option<Duration>,
}

impl<'a> Append<'a> {
    pub(crate) fn new(store: &'a EventStore, events: Vec<Event>) -> Self {
        Self { store, events, options: Options::default() }
    }

    /// Uses a key of the caller's: the same key with the same events returns the first result again, and with others it
    /// is [`IdempotencyKeyReused`](ErrorKind::IdempotencyKeyReused). 1 to 200 characters.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Bounds this append, its repetitions included, instead of the store's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    async fn send(self) -> Result<AppendResult, Error> {
        let key = Key::new(self.store, self.options.idempotency_key)?;
        let request = v1::AppendRequest { events: messages(self.events), idempotency_key: key.text.clone() };
        check_size(&request)?;
        let attempts = self.store.attempts(Effect::Append, self.options.timeout);
        let send = |mut stub: crate::EventStoreStub, request| async move { stub.append(request).await };
        key.outcome(self.store.call(&request, attempts, send).await)
    }
}

impl<'a> AppendIf<'a> {
    pub(crate) fn new(
        store: &'a EventStore,
        events: Vec<Event>,
        query: EventQuery,
        expected_context_version: Option<u64>,
    ) -> Self {
        Self { store, events, query, expected_context_version, options: Options::default() }
    }

    /// Uses a key of the caller's: see [`Append::idempotency_key`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Bounds this append, its repetitions included, instead of the store's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    pub(crate) fn maybe_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.timeout = timeout;
        self
    }

    async fn send(self) -> Result<AppendResult, Error> {
        let key = Key::new(self.store, self.options.idempotency_key)?;
        let request = v1::AppendIfRequest {
            events: messages(self.events),
            context_query: Some(self.query.into_message()),
            expected_context_version: self.expected_context_version,
            idempotency_key: key.text.clone(),
        };
        check_size(&request)?;
        let attempts = self.store.attempts(Effect::Append, self.options.timeout);
        let send = |mut stub: crate::EventStoreStub, request| async move { stub.append_if(request).await };
        key.outcome(self.store.call(&request, attempts, send).await)
    }
}

impl<'a> IntoFuture for Append<'a> {
    type Output = Result<AppendResult, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<'a> IntoFuture for AppendIf<'a> {
    type Output = Result<AppendResult, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The idempotency key of one append; empty when there is none.
struct Key {
    text: String,
    is_made: bool,
}

impl Key {
    fn new(store: &EventStore, given: Option<String>) -> Result<Self, Error> {
        match given {
            // On the wire an empty key is no key: the caller would wrongly believe that a repetition is safe.
            Some(key) if key.is_empty() => Err(Error::usage("the idempotency key is empty; give 1 to 200 characters")),
            Some(text) => Ok(Self { text, is_made: false }),
            None if store.retries.limit == 0 => Ok(Self { text: String::new(), is_made: false }),
            None => Ok(Self { text: Uuid::new_v4().to_string(), is_made: true }),
        }
    }

    fn outcome(&self, outcome: Result<v1::AppendResponse, Error>) -> Result<AppendResult, Error> {
        match outcome {
            Ok(response) => {
                // Nobody but this append has a made key, and its caller has asked once.
                let repeated_request = response.repeated_request && !self.is_made;
                Ok(AppendResult { repeated_request, ..AppendResult::from_message(response) })
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown && !self.text.is_empty() => {
                Err(error.with_idempotency_key(&self.text))
            }
            Err(error) => Err(error),
        }
    }
}

fn messages(events: Vec<Event>) -> Vec<v1::NewEvent> {
    events.into_iter().map(Event::into_message).collect()
}

fn check_size(request: &impl prost::Message) -> Result<(), Error> {
    let actual = request.encoded_len();
    if actual <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    let message = format!("events: a request of {actual} bytes; it takes at most {MAX_REQUEST_BYTES}, split it");
    let error = Error::found(ErrorKind::BatchTooLarge, tonic::Code::InvalidArgument, "BATCH_TOO_LARGE", message);
    Err(error.with_metadata([
        ("limit_name", "max_request_bytes".to_owned()),
        ("limit", MAX_REQUEST_BYTES.to_string()),
        ("actual", actual.to_string()),
    ]))
}
