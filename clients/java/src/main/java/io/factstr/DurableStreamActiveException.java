package io.factstr;

import java.util.Optional;
import java.util.Set;

/** Another consumer holds the durable stream's lease. Wait for it: {@link DurableOptions#withWaitForLease}. */
public final class DurableStreamActiveException extends FactstrException {
    DurableStreamActiveException(Failure failure) {
        super(failure);
    }

    /**
     * Returns who holds the lease.
     *
     * @return for people; empty when the server does not say
     */
    public Optional<String> holder() {
        return Optional.ofNullable(metadata().get("holder"));
    }

    boolean isOf(Set<Long> leaseEpochs) {
        String epoch = metadata().getOrDefault("lease_epoch", "");
        return leaseEpochs.stream().anyMatch(ended -> epoch.equals(ended.toString()));
    }
}
