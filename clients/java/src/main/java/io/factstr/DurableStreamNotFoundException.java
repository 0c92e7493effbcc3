package io.factstr;

/** There is no durable stream of this name. */
public final class DurableStreamNotFoundException extends FactstrException {
    DurableStreamNotFoundException(Failure failure) {
        super(failure);
    }
}
