package io.factstr;

import io.factstr.v1.DurableStreamResponse;
import io.factstr.v1.DurableStreamStarted;
import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.StreamAllDurableRequest;
import io.factstr.v1.StreamToDurableRequest;
import io.grpc.Status;
import java.util.Map;

/** Owns how far a durable stream has come under which lease, and which of its batches can still be acknowledged. */
final class Consuming extends Following<DurableStreamResponse, DurableBatch> {
    private static final long NONE = 0;

    private final String name;
    private final EventQuery query;
    private final DurableOptions options;
    // Written by the thread that reads and the one that acknowledges.
    private volatile long leaseEpoch = NONE;
    private long cursor;
    // What the store has certainly kept. The cursor may be beyond: passing over what does not match is stored later.
    private long kept;

    /** The query is null for all batches. */
    Consuming(Calls calls, String name, EventQuery query, DurableOptions options) {
        super(calls, new Resumption(calls, options.giveUpAfter().orElse(null)));
        this.name = Json.checked("the name", name);
        this.query = query;
        this.options = options;
    }

    String name() {
        return name;
    }

    long leaseEpoch() {
        return leaseEpoch;
    }

    synchronized long cursor() {
        return cursor;
    }

    @Override
    Responses<DurableStreamResponse> open() {
        // A call after the first follows an interrupted one. The server may not have noticed that, and hold this
        // consumer's own lease; and where a new name starts is no matter for an old one.
        boolean isFirst = leaseEpoch == NONE;
        boolean waits = options.waitForLease() || !isFirst;
        if (query == null) {
            StreamAllDurableRequest.Builder request = StreamAllDurableRequest.newBuilder()
                    .setDurableStream(name)
                    .setMaxUnacknowledgedBatches(options.maxUnacknowledgedBatches())
                    .setWaitForLease(waits);
            if (isFirst) {
                options.startAfter().ifPresent(request::setStartAfterSequenceNumber);
            }
            if (isFirst && options.startAtHead()) {
                request.setStartAtHead(true);
            }
            return calls.open(EventStoreServiceGrpc.getStreamAllDurableMethod(), request.build());
        }
        StreamToDurableRequest.Builder request = StreamToDurableRequest.newBuilder()
                .setDurableStream(name)
                .setQuery(query.toProto())
                .setMaxUnacknowledgedBatches(options.maxUnacknowledgedBatches())
                .setWaitForLease(waits);
        if (isFirst) {
            options.startAfter().ifPresent(request::setStartAfterSequenceNumber);
        }
        if (isFirst && options.startAtHead()) {
            request.setStartAtHead(true);
        }
        return calls.open(EventStoreServiceGrpc.getStreamToDurableMethod(), request.build());
    }

    @Override
    void take(DurableStreamResponse message) {
        switch (message.getContentCase()) {
            case STARTED -> start(message.getStarted());
            case BATCHES -> arrive(message.getBatches());
            case CAUGHT_UP -> caughtUp(message.getCaughtUp().getHeadSequenceNumber());
            case CHECKPOINT -> checkpoint(message.getCheckpoint().getSequenceNumber());
            case WAITING -> resumption.waits();
            case CONTENT_NOT_SET -> {}
        }
    }

    private void start(DurableStreamStarted started) {
        // First, so that whatever ends the stream now ends this lease.
        leaseEpoch = started.getLeaseEpoch();
        begin(started.getStoreId(), started.getHistoryId());
        reached(started.getCursor());
        resume(started.getCursor());
        resumption.opened(started.getHeartbeatInterval());
    }

    private synchronized void resume(long from) {
        if (from < kept) {
            throw new LeaseLostException(Failure.of(
                    Status.Code.ABORTED,
                    "DURABLE_STREAM_LEASE_LOST",
                    name + " stands at " + from + ", but " + kept
                            + " was acknowledged: it was reset or deleted while this consumer was not connected",
                    Map.of()));
        }
        cursor = from;
        kept = from;
    }

    /** Whether a batch came under an earlier lease, so that it is delivered again and not acknowledged. */
    boolean isOfEarlierLease(DurableBatch batch) {
        return batch.leaseEpoch() < leaseEpoch;
    }

    /** Whether this stream itself ended the lease meanwhile, in going on after an interruption. */
    boolean isGivingUpLeaseOf(DurableBatch batch) {
        return isOfEarlierLease(batch) || batch.leaseEpoch() == leaseEpoch && !resumption.isOpen();
    }

    synchronized void acknowledged(DurableBatch batch, long now) {
        cursor = Math.max(cursor, now);
        kept = Math.max(kept, batch.lastSequenceNumber());
    }

    @Override
    void closed() {
        if (leaseEpoch != NONE) {
            // The server may notice a little later.
            calls.endedLeases().add(leaseEpoch);
        }
    }

    @Override
    DurableBatch batch(io.factstr.v1.CommittedBatch message) {
        return DurableBatch.of(message, leaseEpoch);
    }
}
