package io.factstr;

/** The committed batches of a log, or those that match a query, each once. */
public final class LiveStream extends BatchStream<CommittedBatch> {
    LiveStream(LiveFollowing following) {
        super(following);
    }
}
