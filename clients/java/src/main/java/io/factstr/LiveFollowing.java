package io.factstr;

import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.StreamAllRequest;
import io.factstr.v1.StreamResponse;
import io.factstr.v1.StreamStarted;
import io.factstr.v1.StreamToRequest;
import io.grpc.Status;
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
        OptionalLong from = from();
        if (query == null) {
            StreamAllRequest.Builder request = StreamAllRequest.newBuilder();
            from.ifPresent(request::setAfterSequenceNumber);
            return calls.open(EventStoreServiceGrpc.getStreamAllMethod(), request.build());
        }
        StreamToRequest.Builder request = StreamToRequest.newBuilder().setQuery(query.toProto());
        from.ifPresent(request::setAfterSequenceNumber);
        return calls.open(EventStoreServiceGrpc.getStreamToMethod(), request.build());
    }

    /** Where the next call is to begin; empty: at the head. */
    private OptionalLong from() {
        return hasBegun ? OptionalLong.of(position()) : after;
    }

    @Override
    void take(StreamResponse message) {
        switch (message.getContentCase()) {
            case STARTED -> start(message.getStarted());
            case BATCHES -> arrive(message.getBatches());
            case CAUGHT_UP -> caughtUp(message.getCaughtUp().getHeadSequenceNumber());
            case CHECKPOINT -> checkpoint(message.getCheckpoint().getSequenceNumber());
            case CONTENT_NOT_SET -> {}
        }
    }

    private void start(StreamStarted started) {
        begin(started.getStoreId(), started.getHistoryId());
        long begin = started.getAfterSequenceNumber();
        if (begin > from().orElse(begin)) {
            throw new ServerErrorException(Failure.of(
                    Status.Code.INTERNAL,
                    "the stream was to begin after " + from().getAsLong() + ", but the server begins after " + begin
                            + " and would leave out what is between"));
        }
        reached(begin);
        hasBegun = true;
        resumption.opened(started.getHeartbeatInterval());
    }

    @Override
    CommittedBatch batch(io.factstr.v1.CommittedBatch message) {
        return CommittedBatch.of(message);
    }
}
