//! Owns which batches of a durable stream can still be acknowledged: what its reader and its acknowledgers share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tonic::Code;

use crate::connect::Transport;
use crate::durable_stream::DurableBatch;
use crate::error::{Error, ErrorKind};
use crate::following::Started;
use crate::retry::{Attempts, Effect};
use crate::store::EventStore;
use crate::v1;
use crate::v1::event_store_service_client::EventStoreServiceClient;

/// Acknowledges batches of a durable stream, also while the stream is being read elsewhere: in another task, say.
///
/// Made by [`DurableStream::acknowledger`](crate::DurableStream::acknowledger). A clone is the same.
#[derive(Clone)]
pub struct Acknowledger {
    store: EventStore,
    name: String,
    give_up_after: Option<Duration>,
    lease: Arc<Mutex<Lease>>,
}

/// How far a durable stream has come, under which lease.
#[derive(Default)]
struct Lease {
    cursor: u64,
    epoch: Option<u64>,
    /// What the store has certainly kept. The cursor may be beyond: passing over what does not match is stored later.
    kept: u64,
    /// Whether the stream is delivering, as its reader last saw it.
    is_open: bool,
    /// What an acknowledgement has found out, for the reader to know.
    lost: Option<Error>,
    reader: Option<Waker>,
}

/// What of a batch its acknowledgement takes.
#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) last_sequence_number: u64,
    pub(crate) lease_epoch: u64,
    pub(crate) token: String,
}

impl Acknowledger {
    pub(crate) fn new(store: EventStore, name: String, give_up_after: Option<Duration>) -> Self {
        Self { store, name, give_up_after, lease: Arc::default() }
    }

    /// Acknowledges this batch and all before it; returns the cursor: see
    /// [`DurableStream::acknowledge`](crate::DurableStream::acknowledge).
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](ErrorKind::LeaseLost) and [`DurableStreamNotFound`](ErrorKind::DurableStreamNotFound) when the
    /// stream was reset, deleted or taken; then it is over, and reading it says so too.
    pub async fn acknowledge(&self, batch: &DurableBatch) -> Result<u64, Error> {
        self.acknowledge_receipt(batch.receipt()).await
    }

    pub(crate) async fn acknowledge_receipt(&self, receipt: Receipt) -> Result<u64, Error> {
        let effect = Effect::Stream { give_up_after: self.give_up_after };
        self.send(receipt, self.store.attempts(effect, None)).await
    }

    /// Acknowledges as any other call would: not for as long as it takes.
    pub(crate) async fn acknowledge_at_the_end(&self, receipt: Receipt) -> Result<u64, Error> {
        self.send(receipt, self.store.attempts(Effect::Read, None)).await
    }

    /// Takes in where a call begins to deliver; returns the cursor.
    pub(crate) fn begin(&self, started: &Started) -> Result<u64, Error> {
        let mut lease = self.lease();
        lease.epoch = Some(started.lease_epoch);
        if started.after < lease.kept {
            return Err(Error::found(
                ErrorKind::LeaseLost,
                Code::Aborted,
                "DURABLE_STREAM_LEASE_LOST",
                format!(
                    "{} stands at {}, but {} was acknowledged: it was reset or deleted while this consumer was not \
                     connected",
                    self.name, started.after, lease.kept
                ),
            ));
        }
        lease.cursor = started.after;
        lease.kept = started.after;
        Ok(started.after)
    }

    /// Takes in whether the stream is delivering.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.lease().is_open = is_open;
    }

    /// Returns what an acknowledgement has found out; if nothing, the reader is woken when one does.
    pub(crate) fn lost(&self, reader: &Waker) -> Option<Error> {
        let mut lease = self.lease();
        lease.reader = Some(reader.clone());
        lease.lost.take()
    }

    pub(crate) fn end_lease(&self) {
        if let Some(epoch) = self.lease().epoch {
            self.store.end_lease(epoch);
        }
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.lease().cursor
    }

    pub(crate) fn lease_epoch(&self) -> u64 {
        self.lease().epoch.unwrap_or(0)
    }

    async fn send(&self, receipt: Receipt, attempts: Attempts) -> Result<u64, Error> {
        if self.lease_epoch() > receipt.lease_epoch {
            return Ok(self.cursor());
        }
        let request =
            v1::AcknowledgeDurableRequest { durable_stream: self.name.clone(), acknowledgement_token: receipt.token };
        let send =
            async |mut stub: EventStoreServiceClient<Transport>, request| stub.acknowledge_durable(request).await;
        let outcome = self.store.call(&request, attempts, send).await;
        let mut lease = self.lease();
        match outcome {
            Ok(response) => {
                lease.cursor = lease.cursor.max(response.cursor);
                lease.kept = lease.kept.max(receipt.last_sequence_number);
                Ok(lease.cursor)
            }
            // The stream itself gave up that lease, in being taken up again: the batch is delivered again.
            Err(error) if error.kind() == ErrorKind::LeaseLost && lease.has_given_up(receipt.lease_epoch) => {
                Ok(lease.cursor)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::DurableStreamNotFound) {
                    lease.lost = Some(error.clone());
                    if let Some(reader) = lease.reader.take() {
                        reader.wake();
                    }
                }
                Err(error)
            }
        }
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn has_given_up(&self, epoch: u64) -> bool {
        self.epoch > Some(epoch) || (self.epoch == Some(epoch) && !self.is_open)
    }
}

impl fmt::Debug for Acknowledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Acknowledger")
            .field("name", &self.name)
            .field("cursor", &self.cursor())
            .field("lease_epoch", &self.lease_epoch())
            .finish_non_exhaustive()
    }
}
