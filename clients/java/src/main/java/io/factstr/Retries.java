package io.factstr;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * How often a failed call is repeated, and how long it waits before: doubled each time, and half of it random.
 *
 * <p>A longer delay that the server asks for is kept, and nothing is repeated beyond the timeout.
 *
 * @param limit at most so many repetitions; 0 repeats nothing
 * @param firstDelay before the first repetition
 * @param longestDelay what the doubling stops at
 */
public record Retries(int limit, Duration firstDelay, Duration longestDelay) {
    /** At most 20 repetitions, after 50 ms and up to 2 s: about as long as the usual timeout. */
    public static final Retries DEFAULT = new Retries(20, Duration.ofMillis(50), Duration.ofSeconds(2));

    /** No repetition; then no idempotency keys are made either. */
    public static final Retries NONE = DEFAULT.withLimit(0);

    /**
     * Checks the numbers.
     *
     * @throws IllegalArgumentException when one of them is negative
     */
    public Retries {
        if (limit < 0 || firstDelay.isNegative() || longestDelay.isNegative()) {
            throw new IllegalArgumentException(
                    "retries are " + limit + ", " + firstDelay + ", " + longestDelay + "; none can be negative");
        }
    }

    /**
     * Returns these retries with another limit.
     *
     * @param repetitions at most so many
     * @return the same delays with it
     */
    public Retries withLimit(int repetitions) {
        return new Retries(repetitions, firstDelay, longestDelay);
    }

    /**
     * Returns these retries with other delays.
     *
     * @param first before the first repetition
     * @param longest what the doubling stops at
     * @return the same limit with them
     */
    public Retries withDelays(Duration first, Duration longest) {
        return new Retries(limit, first, longest);
    }

    /** How many nanoseconds to wait before the given repetition, counted from 0. */
    long delayNanos(int repetition) {
        long first = Clock.nanos(firstDelay);
        // A stream is taken up again for as long as it takes, and no long holds every power of two.
        int doublings = Math.min(repetition, Long.numberOfLeadingZeros(first | 1) - 1);
        long longest = Math.min(Clock.nanos(longestDelay), first << doublings);
        // Half of it at random, so that callers who failed together do not come back together.
        return longest - ThreadLocalRandom.current().nextLong(longest / 2 + 1);
    }
}
