package io.factstr;

/** The idempotency key belongs to an earlier, different request. Nothing was committed. */
public final class IdempotencyKeyReusedException extends FactstrException {
    IdempotencyKeyReusedException(Failure failure) {
        super(failure);
    }
}
