package io.factstr;

/** The store, or the stream or result that was being read, was closed. */
public final class ClosedException extends FactstrException {
    ClosedException(Failure failure) {
        super(failure);
    }
}
