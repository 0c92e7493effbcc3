//! Owns what can go wrong: one error, its kinds, and the way from a gRPC status to the right one.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use crate::details::Details;

/// The server refused a call, or could not be asked; or the client refused an argument.
///
/// `Display` is for people: what was wrong, where, and what would be right. Decide by [`kind`](Error::kind), or by
/// [`reason`](Error::reason).
///
/// After an append failed with anything but [`ErrorKind::OutcomeUnknown`], nothing was committed.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: Option<Code>,
    reason: Option<String>,
    message: String,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<FieldViolation>,
    retry_delay: Option<Duration>,
    idempotency_key: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What an error means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused by the client itself: an argument that cannot be meant, or a value that JSON does not say. Nothing was
    /// sent.
    Usage,
    /// The request breaks a law of the contract; it will never succeed as it is.
    InvalidRequest,
    /// An invalid request too: the append holds too many events or bytes. The metadata has `limit_name`, `limit` and
    /// `actual`. Split it.
    BatchTooLarge,
    /// The context's version is not the expected one. Read the context again, decide again, append again.
    Conflict {
        /// The version that was expected, as sent; `None` when no fact was expected to match.
        expected: Option<u64>,
        /// The version that the context has; `None` when no fact matches.
        actual: Option<u64>,
    },
    /// The idempotency key belongs to an earlier, different request.
    IdempotencyKeyReused,
    /// The server or its store does not answer now. Try later.
    Unavailable,
    /// Unavailable too: the server's queue is full, or the caller's quota is used up.
    ServerBusy,
    /// The store has no room left.
    StoreFull,
    /// The append may or may not have been committed. With its [`idempotency_key`](Error::idempotency_key) it may be
    /// sent again, as it was.
    OutcomeUnknown,
    /// A read took longer than its timeout.
    DeadlineExceeded,
    /// The call carries no valid token or certificate.
    Unauthenticated,
    /// The caller's role does not allow this.
    PermissionDenied,
    /// The server does not offer this call, or not with this field.
    NotImplemented,
    /// The position asked for is beyond the head of the log.
    CursorAheadOfLog,
    /// The log is not the one that the stream began on: a failover or a restore lost its tail, or it is another store.
    /// What was read from it may be no fact of this log: begin anew, from a position that both have.
    LogDiverged,
    /// Another consumer holds the durable stream's lease.
    DurableStreamActive,
    /// The durable stream's name is bound to another query.
    QueryMismatch,
    /// The durable stream was reset or deleted by force, or another consumer has taken it: this one is done.
    LeaseLost,
    /// There is no durable stream of this name.
    DurableStreamNotFound,
    /// A defect of the server or its store. The metadata may have an `error_id` that is also in the server's log.
    ServerError,
    /// A status that this version of the client knows nothing about.
    Other,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The path of the field, for example `events[3].payload`.
    pub field: String,
    /// What was wrong, and what would be right.
    pub description: String,
}

impl Error {
    /// Returns what the error means: what a caller branches on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the gRPC status; `None` for [`ErrorKind::Usage`].
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.0.code
    }

    /// Returns the name of the contract's `ErrorReason`, also one that this version does not know.
    ///
    /// `None` when the status came without one: then it came from something between here and the server, and promises
    /// nothing.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Returns what was wrong, where, and what would be right.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the numbers that go with the reason, by name.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// Returns which fields were invalid: at most eight.
    #[must_use]
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.field_violations
    }

    /// Returns how long the server asks to wait before a repetition.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_delay
    }

    /// Returns the key that an append was sent with whose outcome is unknown, given or made; `None` when it had none.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.0.idempotency_key.as_deref()
    }

    /// Tells whether the request itself is invalid: [`ErrorKind::InvalidRequest`] or [`ErrorKind::BatchTooLarge`].
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(self.0.kind, ErrorKind::InvalidRequest | ErrorKind::BatchTooLarge)
    }

    /// Tells whether it may work later: [`ErrorKind::Unavailable`] or [`ErrorKind::ServerBusy`].
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::ServerBusy)
    }

    /// Tells whether the context of an append had changed: [`ErrorKind::Conflict`].
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Conflict { .. })
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, None, message.into())
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// An error that the client finds by itself, where the server has a reason for it.
    pub(crate) fn found(kind: ErrorKind, code: Code, reason: &str, message: String) -> Self {
        let mut error = Self::new(kind, Some(code), message);
        error.0.reason = Some(reason.to_owned());
        error
    }

    pub(crate) fn with_metadata<const N: usize>(mut self, entries: [(&str, String); N]) -> Self {
        self.0.metadata = entries.map(|(name, value)| (name.to_owned(), value)).into();
        self
    }

    pub(crate) fn with_idempotency_key(mut self, key: String) -> Self {
        self.0.idempotency_key = Some(key);
        self
    }

    /// What a failed call means. Of an append (`appends`) it matters whether it was committed.
    pub(crate) fn from_status(status: &Status, appends: bool) -> Self {
        let details = Details::of(status);
        let code = code_of(status);
        let kind = kind_of(&details, code, appends);
        let mut message = message_of(status);
        if kind == ErrorKind::OutcomeUnknown && details.reason.as_deref() != Some("APPEND_OUTCOME_UNKNOWN") {
            message.push_str(" (it may or may not have been committed)");
        }
        let mut error = Self::new(kind, Some(code), message);
        error.0.reason = details.reason;
        error.0.metadata = details.metadata;
        error.0.field_violations = details.field_violations;
        error.0.retry_delay = details.retry_delay;
        error
    }

    /// Turns a later failure of an append, of which an earlier attempt may have been committed, into what it means
    /// then. Only a known reason that judges the append itself says that it was not.
    pub(crate) fn in_doubt(mut self) -> Self {
        let is_about_the_append =
            self.is_invalid_request() || self.is_conflict() || self.0.kind == ErrorKind::IdempotencyKeyReused;
        let judges = is_about_the_append && self.has_known_reason();
        if !judges && self.0.kind != ErrorKind::OutcomeUnknown {
            self.0.kind = ErrorKind::OutcomeUnknown;
            self.0.message.push_str(" (it may or may not have been committed before)");
        }
        self
    }

    /// Whether the reason is one that this version decides by.
    pub(crate) fn has_known_reason(&self) -> bool {
        self.reason().is_some_and(|reason| kind_of_reason(reason).is_some())
    }

    fn new(kind: ErrorKind, code: Option<Code>, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            reason: None,
            message,
            metadata: BTreeMap::new(),
            field_violations: Vec::new(),
            retry_delay: None,
            idempotency_key: None,
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("code", &self.0.code)
            .field("reason", &self.0.reason)
            .field("message", &self.0.message)
            .field("metadata", &self.0.metadata)
            .field("field_violations", &self.0.field_violations)
            .field("retry_delay", &self.0.retry_delay)
            .field("idempotency_key", &self.0.idempotency_key)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

fn kind_of(details: &Details, code: Code, appends: bool) -> ErrorKind {
    let known = details.reason.as_deref().and_then(kind_of_reason);
    let leaves_open = match known {
        Some(kind) => kind == ErrorKind::ServerError,
        None => details.reason.is_none() || promises_nothing(code),
    };
    if appends && leaves_open {
        return ErrorKind::OutcomeUnknown;
    }
    match known.unwrap_or_else(|| kind_of_code(code)) {
        ErrorKind::Conflict { .. } => details.conflict,
        kind => kind,
    }
}

fn kind_of_reason(reason: &str) -> Option<ErrorKind> {
    Some(match reason {
        "EMPTY_APPEND" | "INVALID_EVENT_TYPE" | "INVALID_PAYLOAD" | "INVALID_PREDICATE" | "INVALID_METADATA"
        | "INVALID_ARGUMENT" => ErrorKind::InvalidRequest,
        "BATCH_TOO_LARGE" => ErrorKind::BatchTooLarge,
        "CONDITIONAL_APPEND_CONFLICT" => ErrorKind::Conflict { expected: None, actual: None },
        "IDEMPOTENCY_KEY_REUSED" => ErrorKind::IdempotencyKeyReused,
        "STORE_UNAVAILABLE" | "SERVER_DRAINING" => ErrorKind::Unavailable,
        "SERVER_BUSY" | "QUOTA_EXCEEDED" => ErrorKind::ServerBusy,
        "STORE_FULL" => ErrorKind::StoreFull,
        "APPEND_OUTCOME_UNKNOWN" => ErrorKind::OutcomeUnknown,
        "UNAUTHENTICATED" => ErrorKind::Unauthenticated,
        "PERMISSION_DENIED" => ErrorKind::PermissionDenied,
        "NOT_IMPLEMENTED" | "UNSUPPORTED_FIELD" => ErrorKind::NotImplemented,
        "CURSOR_AHEAD_OF_LOG" => ErrorKind::CursorAheadOfLog,
        "LOG_DIVERGED" => ErrorKind::LogDiverged,
        "DURABLE_STREAM_ACTIVE" => ErrorKind::DurableStreamActive,
        "DURABLE_STREAM_QUERY_MISMATCH" => ErrorKind::QueryMismatch,
        "DURABLE_STREAM_LEASE_LOST" => ErrorKind::LeaseLost,
        "DURABLE_STREAM_NOT_FOUND" => ErrorKind::DurableStreamNotFound,
        "STORE_CORRUPT" | "INTERNAL" => ErrorKind::ServerError,
        _ => return None,
    })
}

fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::InvalidRequest,
        Code::Unavailable | Code::ResourceExhausted => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::Internal | Code::Unknown | Code::DataLoss => ErrorKind::ServerError,
        _ => ErrorKind::Other,
    }
}

/// Whether a status with an unknown reason leaves open what became of an append.
fn promises_nothing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Internal
            | Code::Unknown
            | Code::DataLoss
    )
}

/// The code of a status. Tonic's own say UNKNOWN or CANCELLED where gRPC says UNAVAILABLE: they have a source, those of
/// a server have none.
fn code_of(status: &Status) -> Code {
    match status.source() {
        None => status.code(),
        Some(source) if sources(source).any(<dyn StdError>::is::<tonic::TimeoutExpired>) => Code::DeadlineExceeded,
        Some(_) => Code::Unavailable,
    }
}

/// The message of a status. Tonic's own say no more than "transport error", and their sources the rest.
fn message_of(status: &Status) -> String {
    let mut message = status.message().to_owned();
    for source in status.source().into_iter().flat_map(sources) {
        let more = source.to_string();
        if !message.contains(&more) {
            message = if message.is_empty() { more } else { format!("{message}: {more}") };
        }
    }
    if message.is_empty() { status.code().description().to_owned() } else { message }
}

fn sources<'a>(first: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(first), |&error| error.source())
}
