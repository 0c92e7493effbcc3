package io.factstr;

/** The server's queue is full, or the caller's quota is used up. */
public final class ServerBusyException extends UnavailableException {
    ServerBusyException(Failure failure) {
        super(failure);
    }
}
