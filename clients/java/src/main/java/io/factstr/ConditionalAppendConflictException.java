package io.factstr;

import java.util.OptionalLong;

/**
 * The context's version is not the expected one; nothing was committed. Read the context again, decide again, append
 * again: {@link EventStore#decide} does.
 */
public final class ConditionalAppendConflictException extends FactstrException {
    ConditionalAppendConflictException(Failure failure) {
        super(failure);
    }

    /**
     * Returns the version that was expected, as sent.
     *
     * @return empty when no fact was expected to match
     */
    public OptionalLong expected() {
        var conflict = failure().conflict();
        return conflict.hasExpectedContextVersion()
                ? OptionalLong.of(conflict.getExpectedContextVersion())
                : OptionalLong.empty();
    }

    /**
     * Returns the version that the context has.
     *
     * @return empty when no fact matches
     */
    public OptionalLong actual() {
        var conflict = failure().conflict();
        return conflict.hasActualContextVersion()
                ? OptionalLong.of(conflict.getActualContextVersion())
                : OptionalLong.empty();
    }
}
