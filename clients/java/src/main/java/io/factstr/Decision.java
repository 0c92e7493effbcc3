package io.factstr;

import java.util.List;

/**
 * Decides what to append on the facts that a query selected.
 *
 * @param <X> what it may throw
 */
@FunctionalInterface
public interface Decision<X extends Exception> {
    /**
     * Decides. It is asked again, on the facts as they are then, whenever another writer was faster.
     *
     * @param context the facts, and their version
     * @return what to append; empty: nothing
     * @throws X goes to the caller, and nothing is appended
     */
    List<Event> decide(Context context) throws X;
}
