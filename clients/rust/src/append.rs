//! Owns appending: with a key of the caller's or one made here, so that it can be repeated.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use tonic::Code;
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::event::{AppendResult, Event};
use crate::query::EventQuery;
use crate::retry::{Effect, check_time};
use crate::store::EventStore;
use crate::v1;

/// What `.await` makes of an operation that is set up.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A larger request is not sent: gRPC would refuse it with a status that leaves the outcome open.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// An append that is set up: `.await` does it. See [`EventStore::append`] and [`EventStore::append_if`].
#[derive(Debug)]
#[must_use = "nothing is appended without `.await`"]
pub struct Append<'a> {
    store: &'a EventStore,
    events: Vec<Event>,
    condition: Option<Condition>,
    idempotency_key: Option<String>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) query: EventQuery,
    pub(crate) expected_context_version: Option<u64>,
}

impl<'a> Append<'a> {
    pub(crate) fn new(store: &'a EventStore, events: Vec<Event>, condition: Option<Condition>) -> Self {
        Self { store, events, condition, idempotency_key: None, timeout: None }
    }

    /// Uses a key of the caller's, of 1 to 200 characters, instead of a random one.
    ///
    /// The same key with the same request returns the first result again; with another one it is
    /// [`IdempotencyKeyReused`](ErrorKind::IdempotencyKeyReused).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Bounds this append, its repetitions included, instead of the store's timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.maybe_timeout(Some(timeout))
    }

    pub(crate) fn maybe_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    async fn send(self) -> Result<AppendResult, Error> {
        check_time("timeout", self.timeout)?;
        let has_callers_key = self.idempotency_key.is_some();
        let idempotency_key = key(self.idempotency_key, self.store)?;
        let attempts = self.store.attempts(Effect::Append, self.timeout);
        let events = self.events.into_iter().map(Event::into_message).collect();
        let outcome = if let Some(Condition { query, expected_context_version }) = self.condition {
            let context_query = Some(query.into_message());
            let request = v1::AppendIfRequest {
                events,
                context_query,
                expected_context_version,
                idempotency_key: idempotency_key.clone(),
            };
            check_size(&request)?;
            self.store.call(&request, attempts, async |mut stub, request| stub.append_if(request).await).await
        } else {
            let request = v1::AppendRequest { events, idempotency_key: idempotency_key.clone() };
            check_size(&request)?;
            self.store.call(&request, attempts, async |mut stub, request| stub.append(request).await).await
        };
        match outcome {
            Ok(response) => {
                // Nobody but this append has a made key, and its caller has asked once.
                let repeated_request = response.repeated_request && has_callers_key;
                Ok(AppendResult { repeated_request, ..AppendResult::from_message(response) })
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown && !idempotency_key.is_empty() => {
                Err(error.with_idempotency_key(idempotency_key))
            }
            Err(error) => Err(error),
        }
    }
}

impl<'a> IntoFuture for Append<'a> {
    type Output = Result<AppendResult, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Returns the key to send: without retries none is made, and it is empty.
fn key(given: Option<String>, store: &EventStore) -> Result<String, Error> {
    match given {
        // On the wire an empty key is no key: the caller would wrongly believe that a repetition is safe.
        Some(key) if key.is_empty() => Err(Error::usage("the idempotency key is empty; give 1 to 200 characters")),
        Some(key) => Ok(key),
        None if store.repeats() => Ok(Uuid::new_v4().to_string()),
        None => Ok(String::new()),
    }
}

fn check_size(request: &impl prost::Message) -> Result<(), Error> {
    let actual = request.encoded_len();
    if actual <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    let message = format!("events: a request of {actual} bytes; it takes at most {MAX_REQUEST_BYTES}, split it");
    let error = Error::found(ErrorKind::BatchTooLarge, Code::InvalidArgument, "BATCH_TOO_LARGE", message);
    Err(error.with_metadata([
        ("limit_name", "max_request_bytes".to_owned()),
        ("limit", MAX_REQUEST_BYTES.to_string()),
        ("actual", actual.to_string()),
    ]))
}
