package io.factstr;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.Timestamp;
import java.time.Instant;
import java.util.List;
import java.util.Map;

/**
 * A committed fact.
 *
 * @param sequenceNumber its place in the one global order
 * @param occurredAt when its batch was committed, by the store's clock, in microseconds; it is not the order
 * @param eventType as appended
 * @param payloadText the payload as it was appended, byte for byte
 * @param metadata as appended
 */
public record EventRecord(
        long sequenceNumber, Instant occurredAt, String eventType, String payloadText, Map<String, String> metadata) {
    /**
     * Returns the payload as a tree of its own, parsed anew at each call. Integers and decimals have all their digits.
     *
     * @return the payload; a {@code NullNode} for JSON's null
     */
    public JsonNode payload() {
        return Json.parse(payloadText);
    }

    /**
     * Returns the payload as Jackson reads it into a class, for example a record. What the class does not have is left
     * out, so that a payload may grow.
     *
     * @param <T> the class
     * @param type the class
     * @return the payload; null for JSON's null
     * @throws IllegalArgumentException when it is not one of these
     */
    public <T> T payloadAs(Class<T> type) {
        return Json.parse(payloadText, type);
    }

    static EventRecord of(io.factstr.v1.EventRecord message) {
        return new EventRecord(
                message.getSequenceNumber(),
                instant(message.getOccurredAt()),
                message.getEventType(),
                message.getPayload(),
                Map.copyOf(message.getMetadataMap()));
    }

    static List<EventRecord> of(List<io.factstr.v1.EventRecord> messages) {
        return messages.stream().map(EventRecord::of).toList();
    }

    static Instant instant(Timestamp message) {
        return Instant.ofEpochSecond(message.getSeconds(), message.getNanos());
    }
}
