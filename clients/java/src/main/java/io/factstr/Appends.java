package io.factstr;

import com.google.protobuf.MessageLite;
import io.factstr.v1.AppendIfRequest;
import io.factstr.v1.AppendRequest;
import io.factstr.v1.AppendResponse;
import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.NewEvent;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.UUID;

/**
 * Owns the appending of one batch: its idempotency key, its size, and its call.
 *
 * @param key goes with every attempt; null for none
 * @param isKeyOfCaller whether the caller knows the key, and so may be told of a repeat
 */
record Appends(Calls calls, String key, boolean isKeyOfCaller) {
    /** Of one request. Beyond it gRPC refuses on the server's side, with a bare status that leaves the outcome open. */
    private static final int MOST_BYTES = 16 << 20;

    /** Makes a key, unless nothing is repeated. */
    static Appends withMadeKey(Calls calls) {
        return new Appends(
                calls, calls.retries().limit() == 0 ? null : UUID.randomUUID().toString(), false);
    }

    static Appends withKey(Calls calls, String key) {
        // On the wire an empty key is no key: the caller would wrongly believe that a repetition is safe.
        if (key.isEmpty()) {
            throw new IllegalArgumentException("the idempotency key is empty; give 1 to 200 characters, or none");
        }
        return new Appends(calls, Json.checked("the idempotency key", key), true);
    }

    AppendResult append(List<Event> events) {
        AppendRequest.Builder request = AppendRequest.newBuilder().addAllEvents(messages(events));
        if (key != null) {
            request.setIdempotencyKey(key);
        }
        return commit(EventStoreServiceGrpc.getAppendMethod(), request.build());
    }

    AppendResult appendIf(List<Event> events, EventQuery query, OptionalLong expectedContextVersion) {
        AppendIfRequest.Builder request =
                AppendIfRequest.newBuilder().addAllEvents(messages(events)).setContextQuery(query.toProto());
        expectedContextVersion.ifPresent(request::setExpectedContextVersion);
        if (key != null) {
            request.setIdempotencyKey(key);
        }
        return commit(EventStoreServiceGrpc.getAppendIfMethod(), request.build());
    }

    private static List<NewEvent> messages(List<Event> events) {
        return events.stream().map(Event::toProto).toList();
    }

    private <Q extends MessageLite> AppendResult commit(MethodDescriptor<Q, AppendResponse> method, Q request) {
        int size = request.getSerializedSize();
        if (size > MOST_BYTES) {
            throw new BatchTooLargeException(Failure.of(
                    Status.Code.INVALID_ARGUMENT,
                    "BATCH_TOO_LARGE",
                    "events: a request of " + size + " bytes; it takes at most " + MOST_BYTES + ", split it",
                    Map.of(
                            "limit_name", "max_request_bytes",
                            "limit", Integer.toString(MOST_BYTES),
                            "actual", Integer.toString(size))));
        }
        return AppendResult.of(calls.answer(method, request, Attempts.ofAppend(calls, key)), isKeyOfCaller);
    }
}
