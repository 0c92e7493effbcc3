package io.factstr;

import java.util.List;
import java.util.OptionalLong;

/**
 * The facts that a query selected, to decide on.
 *
 * @param eventRecords the facts, oldest first
 * @param version the highest sequence number among all that match; empty when none does
 */
public record Context(List<EventRecord> eventRecords, OptionalLong version) {
    /** Keeps the facts as they are now. */
    public Context {
        eventRecords = List.copyOf(eventRecords);
    }
}
