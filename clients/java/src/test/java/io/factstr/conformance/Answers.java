package io.factstr.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.factstr.AppendResult;
import io.factstr.Batch;
import io.factstr.BatchTooLargeException;
import io.factstr.CallInterruptedException;
import io.factstr.ClosedException;
import io.factstr.ConditionalAppendConflictException;
import io.factstr.CursorAheadOfLogException;
import io.factstr.DeadlineExceededException;
import io.factstr.DurableBatch;
import io.factstr.DurableStreamActiveException;
import io.factstr.DurableStreamNotFoundException;
import io.factstr.EventRecord;
import io.factstr.FactstrException;
import io.factstr.IdempotencyKeyReusedException;
import io.factstr.InvalidRequestException;
import io.factstr.LeaseLostException;
import io.factstr.LogDivergedException;
import io.factstr.NotImplementedException;
import io.factstr.OutcomeUnknownException;
import io.factstr.PermissionDeniedException;
import io.factstr.QueryMismatchException;
import io.factstr.ServerBusyException;
import io.factstr.ServerErrorException;
import io.factstr.StoreFullException;
import io.factstr.UnauthenticatedException;
import io.factstr.UnavailableException;
import java.io.UncheckedIOException;
import java.math.BigInteger;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/** Owns what the client's results and exceptions are in the answers of the protocol. */
final class Answers {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;
    private static final DateTimeFormatter MICROSECONDS =
            DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

    private static final Map<Class<?>, String> KINDS = Map.ofEntries(
            Map.entry(InvalidRequestException.class, "invalid_request"),
            Map.entry(BatchTooLargeException.class, "batch_too_large"),
            Map.entry(ConditionalAppendConflictException.class, "conflict"),
            Map.entry(IdempotencyKeyReusedException.class, "idempotency_key_reused"),
            Map.entry(UnavailableException.class, "unavailable"),
            Map.entry(ServerBusyException.class, "server_busy"),
            Map.entry(StoreFullException.class, "store_full"),
            Map.entry(OutcomeUnknownException.class, "outcome_unknown"),
            Map.entry(DeadlineExceededException.class, "deadline_exceeded"),
            Map.entry(UnauthenticatedException.class, "unauthenticated"),
            Map.entry(PermissionDeniedException.class, "permission_denied"),
            Map.entry(NotImplementedException.class, "not_implemented"),
            Map.entry(CursorAheadOfLogException.class, "cursor_ahead_of_log"),
            Map.entry(LogDivergedException.class, "log_diverged"),
            Map.entry(DurableStreamActiveException.class, "durable_stream_active"),
            Map.entry(QueryMismatchException.class, "query_mismatch"),
            Map.entry(LeaseLostException.class, "lease_lost"),
            Map.entry(DurableStreamNotFoundException.class, "durable_stream_not_found"),
            Map.entry(ServerErrorException.class, "server_error"),
            Map.entry(FactstrException.class, "other"),
            Map.entry(ClosedException.class, "closed"),
            Map.entry(EndOfStream.class, "closed"),
            Map.entry(CallInterruptedException.class, "cancelled"),
            Map.entry(HandlerFailed.class, "handler"),
            Map.entry(IllegalArgumentException.class, "usage"),
            Map.entry(UncheckedIOException.class, "usage"));

    private Answers() {}

    /** The stream was closed while it was being read. */
    static final class EndOfStream extends RuntimeException {}

    /** The handler of a projection has failed, as it was told to. */
    static final class HandlerFailed extends Exception {
        private final List<Long> handled;

        HandlerFailed(List<Long> handled) {
            super("the handler fails here");
            this.handled = handled;
        }
    }

    static ObjectNode error(Throwable failure) {
        ObjectNode error = JSON.objectNode()
                .put("kind", KINDS.getOrDefault(failure.getClass(), "defect"))
                .put("message", String.valueOf(failure.getMessage()));
        if (failure instanceof FactstrException refused) {
            error.put("code", refused.code().name())
                    .put("reason", refused.reason().orElse(null));
            refused.metadata().forEach(error.putObject("metadata")::put);
            ArrayNode violations = error.putArray("field_violations");
            refused.fieldViolations()
                    .forEach(violation -> violations
                            .addObject()
                            .put("field", violation.field())
                            .put("description", violation.description()));
        }
        if (failure instanceof ConditionalAppendConflictException conflict) {
            error.set("expected", unsigned(conflict.expected()));
            error.set("actual", number(conflict.actual()));
        }
        if (failure instanceof OutcomeUnknownException open) {
            error.put("idempotency_key", open.idempotencyKey().orElse(null));
        }
        if (failure instanceof HandlerFailed failed) {
            error.setAll(handled(failed.handled));
        }
        return error;
    }

    static ObjectNode appended(AppendResult result) {
        return JSON.objectNode()
                .put("first_sequence_number", result.firstSequenceNumber())
                .put("last_sequence_number", result.lastSequenceNumber())
                .put("committed_count", result.committedCount())
                .put("occurred_at", moment(result.occurredAt()))
                .put("repeated_request", result.repeatedRequest());
    }

    static ArrayNode records(List<EventRecord> records) {
        ArrayNode nodes = JSON.arrayNode();
        for (EventRecord record : records) {
            ObjectNode node = nodes.addObject()
                    .put("sequence_number", record.sequenceNumber())
                    .put("occurred_at", moment(record.occurredAt()))
                    .put("event_type", record.eventType())
                    .put("payload_text", record.payloadText());
            node.set("payload", record.payload());
            record.metadata().forEach(node.putObject("metadata")::put);
        }
        return nodes;
    }

    static ObjectNode batch(Object delivered) {
        Batch batch = (Batch) delivered;
        ObjectNode node = JSON.objectNode()
                .put("first_sequence_number", batch.firstSequenceNumber())
                .put("last_sequence_number", batch.lastSequenceNumber());
        node.set("event_records", records(batch.eventRecords()));
        return batch instanceof DurableBatch durable ? node.put("lease_epoch", durable.leaseEpoch()) : node;
    }

    static ObjectNode handled(List<Long> lastSequenceNumbers) {
        ObjectNode node = JSON.objectNode();
        lastSequenceNumbers.forEach(node.putArray("handled")::add);
        return node;
    }

    static JsonNode number(OptionalLong number) {
        return number.isPresent() ? JSON.numberNode(number.getAsLong()) : JSON.nullNode();
    }

    private static JsonNode unsigned(OptionalLong number) {
        return number.isPresent()
                ? JSON.numberNode(new BigInteger(Long.toUnsignedString(number.getAsLong())))
                : JSON.nullNode();
    }

    private static String moment(Instant when) {
        return MICROSECONDS.format(when);
    }
}
