package io.factstr;

/**
 * The append holds too many events or bytes: split it. {@link #metadata} has {@code limit_name}, {@code limit} and
 * {@code actual}.
 */
public final class BatchTooLargeException extends InvalidRequestException {
    BatchTooLargeException(Failure failure) {
        super(failure);
    }
}
