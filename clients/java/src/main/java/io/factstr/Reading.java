package io.factstr;

import io.factstr.v1.QueryRequest;
import io.factstr.v1.QueryResponse;
import io.grpc.Status;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/**
 * Owns how far a query's result has been read, and how to go on after an interruption as if there had been none.
 *
 * <p>The log is immutable, so the rest of a snapshot can be asked for again, exactly: the facts after the last one that
 * was returned, up to the context version that the first message named.
 */
final class Reading {
    private final EventQuery query;
    private final QueryOptions options;
    private boolean hasBegun;
    // Whether the call under way has brought a message.
    private boolean hasAnswered;
    private long returned;
    private volatile OptionalLong contextVersion = OptionalLong.empty();
    private volatile OptionalLong lastReturned = OptionalLong.empty();

    Reading(EventQuery query, QueryOptions options) {
        this.query = query;
        this.options = options;
    }

    OptionalLong contextVersion() {
        return contextVersion;
    }

    OptionalLong lastReturned() {
        return lastReturned;
    }

    /** The request for what has not come yet. */
    QueryRequest request() {
        hasAnswered = false;
        boolean isAscending = options.order() == Order.ASCENDING;
        EventQuery rest = isAscending && lastReturned.isPresent() ? query.after(lastReturned.getAsLong()) : query;
        QueryRequest.Builder request = QueryRequest.newBuilder()
                .setQuery(rest.toProto())
                .setOrder(isAscending ? io.factstr.v1.Order.ORDER_ASCENDING : io.factstr.v1.Order.ORDER_DESCENDING);
        options.limit().ifPresent(limit -> request.setLimit(limit - returned));
        if (hasBegun) {
            request.setBeforeSequenceNumber(end());
        } else {
            options.before().ifPresent(request::setBeforeSequenceNumber);
        }
        return request.build();
    }

    /** Whether all that was asked for has come, so that nothing is left to ask for. */
    boolean isDone() {
        if (!hasBegun) {
            return false;
        }
        long begin = query.minSequenceNumber().orElse(0);
        if (options.order() == Order.ASCENDING) {
            begin = Math.max(begin, lastReturned.orElse(0));
        }
        return end() - begin <= 1
                || options.limit().isPresent() && returned >= options.limit().getAsLong();
    }

    /**
     * Whether the call under way may end here. Even an empty result has a message; where an ascending one ends is
     * known, and of another one only the server knows.
     */
    boolean mayEnd() {
        boolean isEndKnown =
                options.order() == Order.ASCENDING && options.before().isEmpty();
        return hasAnswered && (isDone() || !isEndKnown);
    }

    /** Takes in the next message and returns its facts. */
    List<EventRecord> take(QueryResponse message) {
        if (!hasAnswered) {
            hasAnswered = true;
            begin(message);
        }
        List<EventRecord> records = EventRecord.of(message.getEventRecordsList());
        if (!records.isEmpty()) {
            returned += records.size();
            lastReturned = OptionalLong.of(records.get(records.size() - 1).sequenceNumber());
        }
        return records;
    }

    /** Takes in what a call begins with: the context of the first one, which later ones may only have outgrown. */
    private void begin(QueryResponse message) {
        OptionalLong version = message.hasCurrentContextVersion()
                ? OptionalLong.of(message.getCurrentContextVersion())
                : OptionalLong.empty();
        if (!hasBegun) {
            hasBegun = true;
            contextVersion = version;
        } else if (version.orElse(0) < contextVersion.orElse(0)) {
            throw new LogDivergedException(Failure.of(
                    Status.Code.DATA_LOSS,
                    "LOG_DIVERGED",
                    "the result began in a context of version " + contextVersion.orElse(0) + "; the server has version "
                            + version.orElse(0) + " now, and no log grows shorter",
                    Map.of()));
        }
    }

    /** What is still to come is before it. */
    private long end() {
        if (options.order() == Order.DESCENDING && lastReturned.isPresent()) {
            return lastReturned.getAsLong();
        }
        return Math.min(options.before().orElse(Long.MAX_VALUE), contextVersion.orElse(0) + 1);
    }
}
