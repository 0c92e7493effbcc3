package io.factstr;

import io.factstr.v1.CommittedBatches;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.ArrayDeque;
import java.util.Map;
import java.util.Queue;

/**
 * Owns how far a stream has come through all its calls, and what of it is still to be handed over.
 *
 * <p>The position is moved by what the calls say, and by each batch as it is handed over. Messages are taken in only
 * when all batches before are handed over, so that a call that follows an interrupted one begins at it.
 *
 * @param <M> the messages
 * @param <B> the batches
 */
abstract class Following<M, B extends Batch> {
    final Calls calls;
    final Resumption resumption;
    private final Queue<io.factstr.v1.CommittedBatch> arrived = new ArrayDeque<>();
    private boolean isCaughtUp;
    private String log = "";
    private volatile long position;

    Following(Calls calls, Resumption resumption) {
        this.calls = calls;
        this.resumption = resumption;
    }

    /** Begins the next call, at the position. */
    abstract Responses<M> open();

    /** Takes in the next message. Content that this version does not know is skipped. */
    abstract void take(M message);

    abstract B batch(io.factstr.v1.CommittedBatch message);

    /** Takes note that the stream is closed. */
    void closed() {}

    long position() {
        return position;
    }

    boolean hasBatch() {
        return !arrived.isEmpty();
    }

    boolean hasBatchOrIsCaughtUp() {
        return hasBatch() || isCaughtUp;
    }

    /** Returns the next batch, to be taken as delivered. */
    B handOver() {
        B next = batch(arrived.remove());
        reached(next.lastSequenceNumber());
        return next;
    }

    /** How many nanoseconds to wait before the next call; throws the failure when there is none. */
    long delayAfter(StatusRuntimeException failed) {
        isCaughtUp = false;
        return resumption.delayAfter(failed);
    }

    /** Takes in on which log a call begins: the same as the first. */
    final void begin(String storeId, String historyId) {
        String now = storeId + " / " + historyId;
        if (!log.isEmpty() && !log.equals(now)) {
            throw new LogDivergedException(Failure.of(
                    Status.Code.DATA_LOSS,
                    "LOG_DIVERGED",
                    "the stream began on the log " + log + "; the server has " + now
                            + " now, where its positions mean nothing: read that one from the beginning",
                    Map.of()));
        }
        log = now;
    }

    final void arrive(CommittedBatches batches) {
        arrived.addAll(batches.getBatchesList());
        resumption.progressed();
    }

    final void caughtUp(long head) {
        isCaughtUp = true;
        if (head > position) {
            checkpoint(head);
        }
    }

    final void checkpoint(long sequenceNumber) {
        reached(sequenceNumber);
        resumption.progressed();
    }

    final void reached(long sequenceNumber) {
        position = Math.max(position, sequenceNumber);
    }
}
