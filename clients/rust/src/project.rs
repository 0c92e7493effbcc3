//! Owns projections: a handler on a durable stream, and when what it has done is acknowledged.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use tokio::time::Instant;

use crate::append::BoxFuture;
use crate::durable_stream::{DurableBatch, Start, StreamDurable};
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
        let mut stream = self.stream.await?;
        let acknowledger = stream.acknowledger();
        let mut acknowledged_at = Instant::now();
        let mut unacknowledged = None;
        loop {
            let next = if self.stop_when_caught_up { stream.until_caught_up().await } else { stream.try_next().await };
            let Some(batch) = next? else { return Ok(()) };
            let receipt = batch.receipt();
            if let Err(failure) = (self.handler)(batch).await {
                if let Some(before) = unacknowledged {
                    // Where that fails too, the handler's failure is what matters.
                    let _ = acknowledger.acknowledge_at_the_end(before).await;
                }
                return Err(failure);
            }
            if acknowledged_at.elapsed() >= LONGEST_UNACKNOWLEDGED || !stream.has_batch() {
                acknowledger.acknowledge_receipt(receipt).await?;
                acknowledged_at = Instant::now();
                unacknowledged = None;
            } else {
                unacknowledged = Some(receipt);
            }
        }
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
