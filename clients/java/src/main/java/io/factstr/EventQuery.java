package io.factstr;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/**
 * Selects facts: filters joined by OR; without any, every fact.
 *
 * <pre>{@code
 * EventQuery drill = EventQuery.anyOf(
 *         EventFilter.types("tool-registered", "tool-returned").withPayload(Map.of("tool", Map.of("id", "drill-1"))),
 *         EventFilter.types("audit-started"));
 * }</pre>
 *
 * @param filters the alternatives
 * @param minSequenceNumber returns only facts after it; never narrows the context version, a condition or a stream
 */
public record EventQuery(List<EventFilter> filters, OptionalLong minSequenceNumber) {
    private static final EventQuery EVERYTHING = new EventQuery(List.of(), OptionalLong.empty());

    /**
     * Keeps the filters as they are now.
     *
     * @throws IllegalArgumentException when the sequence number is negative
     */
    public EventQuery {
        filters = List.copyOf(filters);
        minSequenceNumber.ifPresent(number -> checkedNumber("minSequenceNumber", number));
    }

    /**
     * Returns the query for every fact.
     *
     * @return the query
     */
    public static EventQuery everything() {
        return EVERYTHING;
    }

    /**
     * Returns the query for facts that any of the filters matches.
     *
     * @param filter one alternative
     * @param more others
     * @return the query
     */
    public static EventQuery anyOf(EventFilter filter, EventFilter... more) {
        List<EventFilter> filters = new ArrayList<>(List.of(more));
        filters.add(0, filter);
        return new EventQuery(filters, OptionalLong.empty());
    }

    /**
     * Returns this query for facts strictly after a sequence number.
     *
     * @param sequenceNumber from 0 on
     * @return the same filters with it
     * @throws IllegalArgumentException when it is negative
     */
    public EventQuery after(long sequenceNumber) {
        return new EventQuery(filters, OptionalLong.of(sequenceNumber));
    }

    static long checkedNumber(String name, long number) {
        if (number < 0) {
            throw new IllegalArgumentException(name + " is " + number + "; it must be from 0 on");
        }
        return number;
    }

    io.factstr.v1.EventQuery toProto() {
        io.factstr.v1.EventQuery.Builder message = io.factstr.v1.EventQuery.newBuilder();
        filters.forEach(filter -> message.addFilters(filter.toProto()));
        minSequenceNumber.ifPresent(message::setMinSequenceNumber);
        return message.build();
    }
}
