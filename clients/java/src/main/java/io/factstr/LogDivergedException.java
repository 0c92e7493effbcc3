package io.factstr;

/**
 * The log is not the one that this stream began on: a failover or a restore lost its tail, or it is another store.
 *
 * <p>What was read from it may be no fact of this log: begin anew, from a position that both have.
 */
public final class LogDivergedException extends FactstrException {
    LogDivergedException(Failure failure) {
        super(failure);
    }
}
