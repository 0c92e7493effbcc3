package io.factstr;

import io.factstr.v1.NewEvent;
import java.util.Map;

/**
 * A fact to append. The limits of the contract are checked by the server.
 *
 * @param eventType what happened
 * @param payload the JSON text that is sent
 * @param metadata anything about the fact that no query selects by
 */
public record Event(String eventType, JsonText payload, Map<String, String> metadata) {
    /**
     * Makes an event of a JSON text, which is sent byte for byte.
     *
     * @param eventType what happened
     * @param payload one JSON text; null is the JSON null
     * @param metadata texts by name
     * @throws IllegalArgumentException when a text holds half a surrogate pair, or the event type is null
     */
    public Event {
        Json.checked("the event type", eventType);
        // A null as payload comes here too: to the compiler, this constructor is nearer than that for any value.
        payload = payload == null ? JsonText.NULL : payload;
        metadata = Map.copyOf(metadata);
        metadata.forEach((key, value) -> {
            Json.checked("a key of the metadata", key);
            Json.checked("metadata[" + key + "]", value);
        });
    }

    /**
     * Makes an event without metadata.
     *
     * @param eventType what happened
     * @param payload any value that Jackson writes as JSON, also a {@code JsonNode} or null, or a {@link JsonText}
     * @throws IllegalArgumentException when it cannot be written as JSON
     */
    public Event(String eventType, Object payload) {
        this(eventType, payload, Map.of());
    }

    /**
     * Makes an event. Its text is made here and now, so a later change to the payload changes no event.
     *
     * @param eventType what happened
     * @param payload any value that Jackson writes as JSON, also a {@code JsonNode} or null, or a {@link JsonText}
     * @param metadata texts by name
     * @throws IllegalArgumentException when it cannot be written as JSON
     */
    public Event(String eventType, Object payload, Map<String, String> metadata) {
        this(eventType, new JsonText(Json.text("the payload of " + eventType, payload)), metadata);
    }

    NewEvent toProto() {
        return NewEvent.newBuilder()
                .setEventType(eventType)
                .setPayload(payload.text())
                .putAllMetadata(metadata)
                .build();
    }
}
