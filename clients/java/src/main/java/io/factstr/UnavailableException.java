package io.factstr;

/** The server or its store does not answer now; try later. An append that threw this was not committed. */
public class UnavailableException extends FactstrException {
    UnavailableException(Failure failure) {
        super(failure);
    }
}
