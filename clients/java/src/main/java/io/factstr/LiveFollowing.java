package io.factstr;

import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.StreamAllRequest;
import io.factstr.v1.StreamResponse;
import io.factstr.v1.StreamStarted;
import io.factstr.v1.StreamToRequest;
import java.util.OptionalLong;

/** Owns what a live stream asks for: begun where it was asked to, and gone on with from its position. */
final class LiveFollowing extends Following<StreamResponse, CommittedBatch> {
    private final EventQuery query;
    private final OptionalLong after;
    private boolean hasBegun;

    /** The query is null for all batches. */
    LiveFollowing(Calls calls, EventQuery query, StreamOptions options) {
        super(calls, new Resumption(calls, options.giveUpAfter().orElse(null)));
        this.query = query;
        this.after = options.after();
    }

    @Override
    Responses<StreamResponse> open() {
        OptionalLong from = hasBegun ? OptionalLong.of(position()) : after;
        if (query == null) {
            StreamAllRequest.Builder request = StreamAllRequest.newBuilder();
            from.ifPresent(request::setAfterSequenceNumber);
            return calls.open(EventStoreServiceGrpc.getStreamAllMethod(), request.build());
        }
        StreamToRequest.Builder request = StreamToRequest.newBuilder().setQuery(query.toProto());
        from.ifPresent(request::setAfterSequenceNumber);
        return calls.open(EventStoreServiceGrpc.getStreamToMethod(), request.build());
    }

    @Override
    void take(StreamResponse message) {
        switch (message.getContentCase()) {
            case STARTED -> {
                StreamStarted started = message.getStarted();
                begin(started.getAfterSequenceNumber(), started.getStoreId(), started.getHistoryId());
                hasBegun = true;
                resumption.opened(started.getHeartbeatInterval());
            }
            case BATCHES -> arrive(message.getBatches());
            case CAUGHT_UP -> caughtUp(message.getCaughtUp().getHeadSequenceNumber());
            case CHECKPOINT -> checkpoint(message.getCheckpoint().getSequenceNumber());
            case CONTENT_NOT_SET -> resumption.progressed();
        }
    }

    @Override
    CommittedBatch batch(io.factstr.v1.CommittedBatch message) {
        return CommittedBatch.of(message);
    }
}
