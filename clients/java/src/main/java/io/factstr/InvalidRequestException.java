package io.factstr;

/** The request breaks a law of the contract; it will never succeed as it is. {@link #fieldViolations} say where. */
public class InvalidRequestException extends FactstrException {
    InvalidRequestException(Failure failure) {
        super(failure);
    }
}
