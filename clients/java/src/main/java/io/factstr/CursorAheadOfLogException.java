package io.factstr;

/**
 * The position asked for is beyond the head: it is of another log, or this one lost its tail. {@link #metadata} has
 * {@code asked_for} and {@code head_sequence_number}.
 */
public final class CursorAheadOfLogException extends FactstrException {
    CursorAheadOfLogException(Failure failure) {
        super(failure);
    }
}
