package io.factstr;

/** The call carries no valid token or certificate. */
public final class UnauthenticatedException extends FactstrException {
    UnauthenticatedException(Failure failure) {
        super(failure);
    }
}
