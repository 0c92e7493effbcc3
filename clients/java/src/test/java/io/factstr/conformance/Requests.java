package io.factstr.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import io.factstr.Event;
import io.factstr.EventFilter;
import io.factstr.EventQuery;
import io.factstr.JsonText;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** Owns what the requests of the protocol say in the client's terms. */
final class Requests {
    private Requests() {}

    static List<Event> events(JsonNode nodes) {
        List<Event> events = new ArrayList<>();
        for (JsonNode node : nodes) {
            Map<String, String> metadata = new HashMap<>();
            node.path("metadata")
                    .properties()
                    .forEach(entry ->
                            metadata.put(entry.getKey(), entry.getValue().textValue()));
            Object payload = node.has("payload_text")
                    ? new JsonText(node.get("payload_text").textValue())
                    : node.get("payload");
            events.add(new Event(node.get("event_type").textValue(), payload, metadata));
        }
        return events;
    }

    static EventQuery query(JsonNode node) {
        List<EventFilter> filters = new ArrayList<>();
        for (JsonNode filter : node.path("filters")) {
            List<String> types = new ArrayList<>();
            filter.path("event_types").forEach(type -> types.add(type.textValue()));
            EventFilter made = new EventFilter(
                    filter.has("event_types") ? Optional.of(types) : Optional.empty(), Optional.empty());
            List<JsonNode> predicates = new ArrayList<>();
            filter.path("payload_predicates").forEach(predicates::add);
            filters.add(filter.has("payload_predicates") ? made.withAnyPayload(predicates) : made);
        }
        return new EventQuery(filters, number(node.get("min_sequence_number")));
    }

    /** A number that may be null or left out, with all its 64 bits. */
    static OptionalLong unsigned(JsonNode node) {
        return node == null || node.isNull()
                ? OptionalLong.empty()
                : OptionalLong.of(node.bigIntegerValue().longValue());
    }

    /** A number that may be null or left out. One that no log reaches means beyond all that there is. */
    static OptionalLong number(JsonNode node) {
        if (node == null || node.isNull()) {
            return OptionalLong.empty();
        }
        return OptionalLong.of(node.canConvertToLong() ? node.longValue() : Long.MAX_VALUE);
    }
}
