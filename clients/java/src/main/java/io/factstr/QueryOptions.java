package io.factstr;

import java.util.OptionalLong;

/**
 * Which part of a query's result to return, and in what order. None of it changes the context version.
 *
 * @param limit returns at most so many facts; 0 returns none, only the context version
 * @param order oldest or newest first
 * @param before returns only facts strictly before this sequence number
 */
public record QueryOptions(OptionalLong limit, Order order, OptionalLong before) {
    /** All of it, oldest first. */
    public static final QueryOptions DEFAULT =
            new QueryOptions(OptionalLong.empty(), Order.ASCENDING, OptionalLong.empty());

    /**
     * Checks the numbers.
     *
     * @throws IllegalArgumentException when one of them is negative
     */
    public QueryOptions {
        limit.ifPresent(number -> EventQuery.checkedNumber("limit", number));
        before.ifPresent(number -> EventQuery.checkedNumber("before", number));
    }

    /**
     * Returns these options with a limit.
     *
     * @param facts at most so many
     * @return the same options with it
     * @throws IllegalArgumentException when it is negative
     */
    public QueryOptions withLimit(long facts) {
        return new QueryOptions(OptionalLong.of(facts), order, before);
    }

    /**
     * Returns these options with another order.
     *
     * @param direction oldest or newest first
     * @return the same options with it
     */
    public QueryOptions withOrder(Order direction) {
        return new QueryOptions(limit, direction, before);
    }

    /**
     * Returns these options with an end.
     *
     * @param sequenceNumber only facts strictly before it are returned
     * @return the same options with it
     * @throws IllegalArgumentException when it is negative
     */
    public QueryOptions withBefore(long sequenceNumber) {
        return new QueryOptions(limit, order, OptionalLong.of(sequenceNumber));
    }
}
