package io.factstr;

/**
 * The calling thread was interrupted, or its gRPC context cancelled, before there was an answer. Of an append: before
 * it was sent.
 *
 * <p>The thread stays interrupted. A stream or result that was being read loses nothing, and can be read on.
 */
public final class CallInterruptedException extends FactstrException {
    CallInterruptedException(Failure failure) {
        super(failure);
    }
}
