package io.factstr;

/** The durable stream was reset or deleted by force, or another consumer has taken it: this consumer is done. */
public final class LeaseLostException extends FactstrException {
    LeaseLostException(Failure failure) {
        super(failure);
    }
}
