package io.factstr;

/** The store has no room left. */
public final class StoreFullException extends FactstrException {
    StoreFullException(Failure failure) {
        super(failure);
    }
}
