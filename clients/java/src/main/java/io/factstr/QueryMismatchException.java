package io.factstr;

/** The durable stream's name is bound to another query. Use another name, or delete this one. */
public final class QueryMismatchException extends FactstrException {
    QueryMismatchException(Failure failure) {
        super(failure);
    }
}
