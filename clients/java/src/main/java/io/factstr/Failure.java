package io.factstr;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.factstr.v1.ConditionalAppendConflict;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/**
 * Owns what a failed call says: the status, and the details of its trailer.
 *
 * @param reason of the contract, or null
 * @param retryDelay or null
 * @param conflict empty unless it is one
 * @param cause or null
 */
record Failure(
        String message,
        Status.Code code,
        String reason,
        Map<String, String> metadata,
        List<FieldViolation> fieldViolations,
        Duration retryDelay,
        ConditionalAppendConflict conflict,
        Throwable cause) {
    private static final String DOMAIN = "factstr";

    /** What the client itself has to say. */
    static Failure of(Status.Code code, String reason, String message, Map<String, String> metadata) {
        return new Failure(
                message, code, reason, metadata, List.of(), null, ConditionalAppendConflict.getDefaultInstance(), null);
    }

    static Failure of(Status.Code code, String message) {
        return of(code, null, message, Map.of());
    }

    static Failure of(StatusRuntimeException failed) {
        Status status = failed.getStatus();
        List<Any> details = details(failed);
        ErrorInfo info = detail(details, ErrorInfo.getDefaultInstance());
        boolean isOurs = info.getDomain().equals(DOMAIN) && !info.getReason().isEmpty();
        return new Failure(
                message(status),
                status.getCode(),
                isOurs ? info.getReason() : null,
                isOurs ? Map.copyOf(info.getMetadataMap()) : Map.of(),
                detail(details, BadRequest.getDefaultInstance()).getFieldViolationsList().stream()
                        .map(violation -> new FieldViolation(violation.getField(), violation.getDescription()))
                        .toList(),
                Clock.positive(detail(details, RetryInfo.getDefaultInstance()).getRetryDelay())
                        .orElse(null),
                detail(details, ConditionalAppendConflict.getDefaultInstance()),
                failed);
    }

    private static String message(Status status) {
        String said = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        // Of a connection that was not made, only its cause says why.
        return status.getCause() == null
                ? said
                : said + ": " + status.getCause().getMessage();
    }

    Failure withMessage(String words) {
        return new Failure(words, code, reason, metadata, fieldViolations, retryDelay, conflict, cause);
    }

    private static List<Any> details(StatusRuntimeException failed) {
        try {
            com.google.rpc.Status status = StatusProto.fromThrowable(failed);
            return status == null ? List.of() : status.getDetailsList();
        } catch (IllegalArgumentException damaged) {
            // Something on the way has changed the trailer or the status; then it says nothing.
            return List.of();
        }
    }

    /** Returns the detail of this type; the empty one when there is none. */
    @SuppressWarnings("unchecked")
    private static <T extends Message> T detail(List<Any> details, T empty) {
        for (Any detail : details) {
            if (detail.is(empty.getClass())) {
                try {
                    return (T) detail.unpack(empty.getClass());
                } catch (InvalidProtocolBufferException damaged) {
                    return empty;
                }
            }
        }
        return empty;
    }
}
