package io.factstr;

/**
 * Takes in the batches of a durable stream, for example into a table.
 *
 * @param <X> what it may throw
 */
@FunctionalInterface
public interface BatchHandler<X extends Exception> {
    /**
     * Takes in one batch, which is acknowledged when this has returned. Delivery is at least once: after a crash the
     * last batches come again.
     *
     * @param batch the next one, in commit order
     * @throws X goes to the caller; the batch is not acknowledged, and the stream is closed
     */
    void handle(DurableBatch batch) throws X;
}
