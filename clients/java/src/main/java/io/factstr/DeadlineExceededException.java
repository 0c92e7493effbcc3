package io.factstr;

/** A read took longer than its timeout. */
public final class DeadlineExceededException extends FactstrException {
    DeadlineExceededException(Failure failure) {
        super(failure);
    }
}
