#![doc = include_str!("../README.md")]

mod acknowledger;
mod append;
mod connect;
mod decide;
mod details;
mod durable_stream;
mod error;
mod event;
mod following;
mod incoming;
mod live_stream;
mod numbers;
mod project;
mod query;
mod query_result;
mod retry;
mod store;
mod target;
#[cfg(feature = "testing")]
pub mod testing;

/// The messages and stubs of the wire contract, generated from `factstr.v1`.
///
/// For what [`EventStore`] does not wrap: it hands the stubs out with its channel and its token.
#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("factstr.v1");
}

pub use acknowledger::Acknowledger;
pub use append::Append;
pub use connect::{Authorization, ConnectOptions, Tls, Transport, connect};
pub use decide::{Decide, ReadContext};
pub use durable_stream::{DurableBatch, DurableStream, Start, StreamDurable};
pub use error::{Error, ErrorKind, FieldViolation};
pub use event::{AppendResult, Context, Event, EventRecord};
pub use live_stream::{CommittedBatch, Follow, LiveStream};
pub use project::Project;
pub use query::{EventFilter, EventQuery};
pub use query_result::{Order, Query, QueryResult};
pub use retry::Retries;
pub use store::EventStore;
/// The gRPC status codes of [`Error::code`].
pub use tonic::Code;
