package io.factstr;

import io.factstr.v1.EventTypes;
import io.factstr.v1.PayloadPredicates;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * One alternative of a query: event types AND payload predicates, each any-of.
 *
 * <p>What is left out does not constrain; an empty list matches nothing. A predicate matches every payload that holds
 * at least what it says: {@code {"tool": {"id": "drill-1"}}} matches whatever else the tool or the payload has.
 *
 * @param eventTypes a fact matches when its type is any of these
 * @param payloadPredicates a fact matches when its payload contains any of these JSON texts
 */
public record EventFilter(Optional<List<String>> eventTypes, Optional<List<JsonText>> payloadPredicates) {
    /**
     * Keeps the lists as they are now.
     *
     * @throws IllegalArgumentException when an event type is null or holds half a surrogate pair
     */
    public EventFilter {
        eventTypes.ifPresent(types -> types.forEach(type -> Json.checked("an event type", type)));
        eventTypes = eventTypes.map(List::copyOf);
        payloadPredicates = payloadPredicates.map(List::copyOf);
    }

    /**
     * Returns the filter for facts of any of the types.
     *
     * @param eventTypes any-of; none matches nothing
     * @return the filter
     */
    public static EventFilter types(String... eventTypes) {
        return new EventFilter(Optional.of(Arrays.asList(eventTypes)), Optional.empty());
    }

    /**
     * Returns the filter for facts of any type whose payload contains the predicate.
     *
     * @param predicate any value that Jackson writes as JSON, or a {@link JsonText}; null matches only the payload null
     * @return the filter
     * @throws IllegalArgumentException when it cannot be written as JSON
     */
    public static EventFilter payload(Object predicate) {
        return new EventFilter(Optional.empty(), Optional.of(List.of(predicate(predicate))));
    }

    /**
     * Returns this filter, with one payload predicate.
     *
     * @param predicate any value that Jackson writes as JSON, or a {@link JsonText}; null matches only the payload null
     * @return the same types with it
     * @throws IllegalArgumentException when it cannot be written as JSON
     */
    public EventFilter withPayload(Object predicate) {
        return new EventFilter(eventTypes, Optional.of(List.of(predicate(predicate))));
    }

    /**
     * Returns this filter, with several payload predicates of which any may match.
     *
     * @param predicates as of {@link #withPayload}, any-of; none matches nothing
     * @return the same types with them
     * @throws IllegalArgumentException when one cannot be written as JSON
     */
    public EventFilter withAnyPayload(List<?> predicates) {
        return new EventFilter(
                eventTypes,
                Optional.of(predicates.stream().map(EventFilter::predicate).toList()));
    }

    private static JsonText predicate(Object value) {
        return new JsonText(Json.text("the payload predicate", value));
    }

    io.factstr.v1.EventFilter toProto() {
        io.factstr.v1.EventFilter.Builder message = io.factstr.v1.EventFilter.newBuilder();
        // A present but empty list matches nothing; an absent one does not constrain.
        eventTypes.ifPresent(
                types -> message.setEventTypes(EventTypes.newBuilder().addAllAnyOf(types)));
        payloadPredicates.ifPresent(predicates -> {
            List<String> texts = predicates.stream().map(JsonText::text).toList();
            message.setPayloadPredicates(PayloadPredicates.newBuilder().addAllAnyOf(texts));
        });
        return message.build();
    }
}
