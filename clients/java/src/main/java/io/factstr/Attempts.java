package io.factstr;

import io.grpc.StatusRuntimeException;
import java.time.Duration;

/** Owns one call with its repetitions: whether a failure is repeated, after how long, and what it means in the end. */
class Attempts {
    private final Calls calls;
    private final boolean isAppend;
    private final String idempotencyKey;
    private final int limit;
    private long deadline;
    private int repetitions;
    // Whether an attempt before may have been committed, so that a later refusal does not say that nothing was.
    private boolean isInDoubt;

    private Attempts(Calls calls, boolean isAppend, String idempotencyKey, int limit, long nanos) {
        this.calls = calls;
        this.isAppend = isAppend;
        this.idempotencyKey = idempotencyKey;
        this.limit = limit;
        this.deadline = Clock.deadline(nanos);
    }

    /** Of a call that only reads, or acknowledges: done again, it changes nothing. */
    static Attempts ofRead(Calls calls) {
        return new Attempts(calls, false, null, calls.retries().limit(), Clock.nanos(calls.timeout()));
    }

    /** Of an append; without a key, which is null then, a repetition could commit it twice. */
    static Attempts ofAppend(Calls calls, String idempotencyKey) {
        return new Attempts(calls, true, idempotencyKey, calls.retries().limit(), Clock.nanos(calls.timeout()));
    }

    /** Throws what it means that no attempt can be made, or no further one. */
    void begin() {
        try {
            calls.checkGoesOn();
        } catch (FactstrException unsent) {
            throw isInDoubt ? Failures.outcomeUnknown(unsent.failure(), idempotencyKey) : unsent;
        }
    }

    /** How many nanoseconds are left for all that is still to come. */
    final long remainingNanos() {
        return Clock.remaining(deadline);
    }

    /** How many nanoseconds the next attempt may take. */
    long attemptNanos() {
        return remainingNanos();
    }

    /** How many nanoseconds to wait before the next attempt; throws the failure when there is none. */
    long delayAfter(StatusRuntimeException failed) {
        FactstrException error = error(Failure.of(failed));
        boolean isRepeated = repetitions < limit && mayRepeat(error);
        if (!isRepeated && !isOfOwnEndedLease(error)) {
            throw error;
        }
        long asked = error.retryDelay().map(Clock::nanos).orElse(0L);
        long delay = Math.max(calls.retries().delayNanos(repetitions), asked);
        if (delay >= remainingNanos()) {
            throw error;
        }
        repetitions++;
        isInDoubt = error instanceof OutcomeUnknownException;
        return delay;
    }

    private FactstrException error(Failure failure) {
        if (isAppend) {
            FactstrException error = Failures.ofAppend(failure, idempotencyKey);
            return isInDoubt && !isJudgement(error) ? Failures.outcomeUnknown(failure, idempotencyKey) : error;
        }
        if (failure.reason() == null) {
            // Perhaps it failed because of the caller.
            calls.checkGoesOn();
        }
        return Failures.ofRead(failure);
    }

    /** Whether it is said of the append itself: then it was not committed before either, or nobody knows. */
    private static boolean isJudgement(FactstrException error) {
        return error instanceof InvalidRequestException && Failures.isKnown(error.failure())
                || error instanceof ConditionalAppendConflictException
                || error instanceof IdempotencyKeyReusedException
                || error instanceof OutcomeUnknownException;
    }

    boolean mayRepeat(FactstrException error) {
        if (calls.isCancelled()) {
            return false;
        }
        return Failures.isRefusedForNow(error.failure())
                || (!isAppend || idempotencyKey != null) && Failures.mayPass(error.failure());
    }

    /** Whether the server has only not noticed yet that a consumer of this store has ended. */
    private boolean isOfOwnEndedLease(FactstrException error) {
        return error instanceof DurableStreamActiveException active && active.isOf(calls.endedLeases());
    }

    /**
     * Of a call that belongs to a stream: repeated for as long as it takes, or a time of failing. Each attempt has the
     * timeout of a call. A defect of the server ends it: nobody waits for ever, in silence, for one to pass.
     */
    static final class Lasting extends Attempts {
        private final Duration giveUpAfter;
        private final long timeout;
        private boolean hasFailed;

        /** The time may be null: as long as it takes. */
        Lasting(Calls calls, Duration giveUpAfter) {
            // Longer than any wait, so that none is too long to be begun.
            super(calls, false, null, Integer.MAX_VALUE, Long.MAX_VALUE);
            this.giveUpAfter = giveUpAfter;
            this.timeout = Clock.nanos(calls.timeout());
        }

        @Override
        long attemptNanos() {
            return Math.min(timeout, remainingNanos());
        }

        @Override
        long delayAfter(StatusRuntimeException failed) {
            if (!hasFailed && giveUpAfter != null) {
                super.deadline = Clock.deadline(Clock.nanos(giveUpAfter));
            }
            hasFailed = true;
            return super.delayAfter(failed);
        }

        @Override
        boolean mayRepeat(FactstrException error) {
            return !"INTERNAL".equals(error.failure().reason()) && super.mayRepeat(error);
        }
    }
}
