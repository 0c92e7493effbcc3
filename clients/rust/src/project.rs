//! Owns projections: a handler on a durable stream, and when what it has done is acknowledged.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::acknowledger::Receipt;
use crate::append::BoxFuture;
use crate::durable_stream::{DurableBatch, DurableStream, Start, StreamDurable};
use crate::error::Error;

/// A projection that is set up: `.await` runs it. See [`EventStore::project`](crate::EventStore::project).
#[must_use = "nothing is projected without `.await`"]
pub struct Project<'a, H> {
    stream: StreamDurable<'a>,
    handler: H,
    stop_when_caught_up: bool,
}

/// What has come together is acknowledged together, but no later than this: an acknowledgement each would cost a replay
/// most of its time, and a later one means no more than a few batches that are handled again after a crash.
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_millis(100);
/// For acknowledging when the projection ends before its time.
const LONGEST_END: Duration = Duration::from_secs(5);

impl<'a, H> Project<'a, H> {
    pub(crate) fn new(stream: StreamDurable<'a>, handler: H) -> Self {
        Self { stream, handler, stop_when_caught_up: false }
    }

    /// Stops when all up to the head is handled and acknowledged, instead of going on live.
    pub fn stop_when_caught_up(mut self) -> Self {
        self.stop_when_caught_up = true;
        self
    }

    /// Says where a new name starts: see [`StreamDurable::start`].
    pub fn start(mut self, start: Start) -> Self {
        self.stream = self.stream.start(start);
        self
    }

    /// Bounds what is sent beyond the acknowledged: see [`StreamDurable::max_unacknowledged_batches`].
    pub fn max_unacknowledged_batches(mut self, batches: u32) -> Self {
        self.stream = self.stream.max_unacknowledged_batches(batches);
        self
    }

    /// Waits for the lease: see [`StreamDurable::wait_for_lease`].
    pub fn wait_for_lease(mut self) -> Self {
        self.stream = self.stream.wait_for_lease();
        self
    }

    /// Bounds interruptions: see [`StreamDurable::give_up_after`].
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.stream = self.stream.give_up_after(time);
        self
    }

    async fn run<F, E>(mut self) -> Result<(), E>
    where
        H: FnMut(DurableBatch) -> F,
        F: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        let mut projecting = Projecting::new(self.stream.await?);
        while let Some(batch) = projecting.next(self.stop_when_caught_up).await? {
            let receipt = batch.receipt();
            if let Err(failure) = (self.handler)(batch).await {
                if let Some(ending) = projecting.end() {
                    // Where that fails too, the handler's failure is what matters.
                    let _ = ending.await;
                }
                return Err(failure);
            }
            projecting.handled(receipt).await?;
        }
        Ok(())
    }
}

/// What is being projected. Dropped before its time, because the caller has cancelled it or the handler has panicked, it
/// still acknowledges what the handler is done with.
struct Projecting {
    /// Until it ends.
    stream: Option<DurableStream>,
    unacknowledged: Option<Receipt>,
    acknowledged_at: Instant,
    runtime: Handle,
}

impl Projecting {
    fn new(stream: DurableStream) -> Self {
        let (acknowledged_at, runtime) = (Instant::now(), Handle::current());
        Self { stream: Some(stream), unacknowledged: None, acknowledged_at, runtime }
    }

    async fn next(&mut self, until_caught_up: bool) -> Result<Option<DurableBatch>, Error> {
        match &mut self.stream {
            Some(stream) if until_caught_up => stream.until_caught_up().await,
            Some(stream) => stream.try_next().await,
            None => Ok(None),
        }
    }

    /// Takes in what the handler is done with, and acknowledges it if it is time.
    async fn handled(&mut self, receipt: Receipt) -> Result<(), Error> {
        self.unacknowledged = Some(receipt.clone());
        let Some(stream) = &self.stream else { return Ok(()) };
        if self.acknowledged_at.elapsed() >= LONGEST_UNACKNOWLEDGED || !stream.has_batch() {
            let acknowledged = stream.acknowledger().acknowledge_receipt(receipt).await;
            self.unacknowledged = None;
            self.acknowledged_at = Instant::now();
            acknowledged?;
        }
        Ok(())
    }

    /// Ends the stream, once what is handled is acknowledged: under the stream's lease, so that it has to stay till then.
    fn end(&mut self) -> Option<JoinHandle<()>> {
        let (stream, receipt) = self.stream.take().zip(self.unacknowledged.take())?;
        let acknowledger = stream.acknowledger();
        // Whoever opens it again now waits for that.
        acknowledger.end_lease();
        Some(self.runtime.spawn(async move {
            let _ = timeout(LONGEST_END, acknowledger.acknowledge_at_the_end(receipt)).await;
            drop(stream);
        }))
    }
}

impl Drop for Projecting {
    fn drop(&mut self) {
        self.end();
    }
}

impl<'a, H, F, E> IntoFuture for Project<'a, H>
where
    H: FnMut(DurableBatch) -> F + Send + 'a,
    F: Future<Output = Result<(), E>> + Send + 'a,
    E: From<Error> + Send + 'a,
{
    type Output = Result<(), E>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<H> fmt::Debug for Project<'_, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Project")
            .field("stream", &self.stream)
            .field("stop_when_caught_up", &self.stop_when_caught_up)
            .finish_non_exhaustive()
    }
}
