package io.factstr;

/**
 * A defect of the server or its store. {@link #metadata} may have an {@code error_id} that is also in the server's log.
 */
public final class ServerErrorException extends FactstrException {
    ServerErrorException(Failure failure) {
        super(failure);
    }
}
