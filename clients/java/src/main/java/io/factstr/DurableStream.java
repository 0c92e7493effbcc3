package io.factstr;

import io.factstr.v1.AcknowledgeDurableRequest;
import io.factstr.v1.EventStoreServiceGrpc;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * The batches after the cursor that the store keeps under a name, each at least once: iterated, and acknowledged when
 * done.
 *
 * <p>After an interruption the stream is taken up again after the cursor, under a new lease: what was not acknowledged
 * is delivered again. Where another consumer has taken the lease meanwhile, this one stands by until it is free. {@link
 * LeaseLostException} is thrown, and the stream closed, when it was reset or deleted by force.
 */
public final class DurableStream extends BatchStream<DurableBatch> {
    private static final long LONGEST_UNACKNOWLEDGED = TimeUnit.MILLISECONDS.toNanos(100);
    /** What a caller who has cancelled, or whose handler has failed, waits for at most. */
    private static final Duration LONGEST_END = Duration.ofSeconds(5);

    private final Calls calls;
    private final Consuming consuming;

    DurableStream(Calls calls, Consuming consuming) {
        super(consuming);
        this.calls = calls;
        this.consuming = consuming;
    }

    /**
     * Returns where the store stands, as it last said.
     *
     * @return everything up to this sequence number is acknowledged or does not match
     */
    public long cursor() {
        return consuming.cursor();
    }

    /**
     * Returns the epoch of the lease: a fencing number.
     *
     * @return a number that rises whenever this stream is taken up again
     */
    public long leaseEpoch() {
        return consuming.leaseEpoch();
    }

    /**
     * Acknowledges a batch and all before it. Does nothing for a batch that came before an interruption that this
     * stream has gone over since: it is delivered again. Also for another thread than the one that reads.
     *
     * <p>It is repeated for as long as the stream itself would be taken up again.
     *
     * @param batch as this stream has delivered it
     * @return the cursor
     * @throws LeaseLostException when the stream was reset or deleted by force, or taken; it is closed then
     * @throws DurableStreamNotFoundException when the stream was deleted; it is closed then
     */
    public long acknowledge(DurableBatch batch) {
        acknowledge(batch, consuming.resumption.attempts());
        return cursor();
    }

    /**
     * Runs the handler on each batch, and acknowledges when it has returned: at once when no further batch has come,
     * else after a tenth of a second. Returns when the stream is closed. A thread that is interrupted gets {@link
     * CallInterruptedException} once what was handled is acknowledged, which takes at most 5 s.
     *
     * @param <X> what the handler throws
     * @param handler takes in a batch
     * @throws X as the handler has thrown it: what was handled before is acknowledged, that batch is not, and the
     *     stream is closed
     */
    public <X extends Exception> void project(BatchHandler<X> handler) throws X {
        project(this, handler);
    }

    /**
     * Does what {@link #project} does up to the head of the log, and returns when all of that is handled and
     * acknowledged.
     *
     * @param <X> what the handler throws
     * @param handler takes in a batch
     * @throws X as the handler has thrown it
     */
    public <X extends Exception> void projectUntilCaughtUp(BatchHandler<X> handler) throws X {
        project(untilCaughtUp(), handler);
    }

    private <X extends Exception> void project(Iterable<DurableBatch> batches, BatchHandler<X> handler) throws X {
        long acknowledgedAt = System.nanoTime();
        DurableBatch unacknowledged = null;
        for (DurableBatch batch : batches) {
            try {
                handler.handle(batch);
            } catch (Throwable failure) {
                if (unacknowledged != null && failure instanceof Exception) {
                    acknowledgeBeforeFailing(unacknowledged, failure);
                }
                close();
                throw failure;
            }
            unacknowledged = batch;
            boolean isDue = System.nanoTime() - acknowledgedAt >= LONGEST_UNACKNOWLEDGED;
            if (isDue || !consuming.hasBatch() || calls.isCancelled()) {
                try {
                    acknowledge(batch);
                } catch (CallInterruptedException cancelled) {
                    acknowledgeBeforeFailing(batch, cancelled);
                    throw cancelled;
                }
                unacknowledged = null;
                acknowledgedAt = System.nanoTime();
            }
        }
    }

    /**
     * Acknowledges what was done before a failure, unless that fails too: the failure is what matters. It may be that
     * the caller has cancelled; this little is still done.
     */
    private void acknowledgeBeforeFailing(DurableBatch batch, Throwable failure) {
        boolean wasInterrupted = Thread.interrupted();
        Calls last = calls.timeout().compareTo(LONGEST_END) < 0 ? calls : calls.withTimeout(LONGEST_END);
        try {
            io.grpc.Context.current().fork().run(() -> acknowledge(batch, Attempts.ofRead(last)));
        } catch (FactstrException too) {
            failure.addSuppressed(too);
        } finally {
            if (wasInterrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void acknowledge(DurableBatch batch, Attempts attempts) {
        if (consuming.isOfEarlierLease(batch)) {
            return;
        }
        AcknowledgeDurableRequest request = AcknowledgeDurableRequest.newBuilder()
                .setDurableStream(consuming.name())
                .setAcknowledgementToken(batch.acknowledgementToken())
                .build();
        try {
            var response = calls.answer(EventStoreServiceGrpc.getAcknowledgeDurableMethod(), request, attempts);
            consuming.acknowledged(batch, response.getCursor());
        } catch (LeaseLostException lost) {
            if (!consuming.isGivingUpLeaseOf(batch)) {
                fail(lost);
                throw lost;
            }
        } catch (DurableStreamNotFoundException lost) {
            fail(lost);
            throw lost;
        }
    }
}
