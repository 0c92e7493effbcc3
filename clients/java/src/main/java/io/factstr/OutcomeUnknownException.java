package io.factstr;

import java.util.Optional;

/** The append may or may not have been committed. With its idempotency key it may be sent again, as it was. */
public final class OutcomeUnknownException extends FactstrException {
    private final String idempotencyKey;

    OutcomeUnknownException(Failure failure, String idempotencyKey) {
        super(failure);
        this.idempotencyKey = idempotencyKey;
    }

    /**
     * Returns the key that the append was sent with.
     *
     * @return made by the client or given by the caller; empty when there was none
     */
    public Optional<String> idempotencyKey() {
        return Optional.ofNullable(idempotencyKey);
    }
}
