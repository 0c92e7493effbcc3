package io.factstr;

/** The server does not offer this call, or does not know a field of the request. */
public final class NotImplementedException extends FactstrException {
    NotImplementedException(Failure failure) {
        super(failure);
    }
}
