package io.factstr;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** Owns the arithmetic of times to wait, in nanoseconds: no length overflows. */
final class Clock {
    /** Longer than any program runs, and half of what a difference of two moments can hold. */
    static final long FOREVER = Long.MAX_VALUE / 2;

    /** The most that protobuf's own rules allow in a duration: 10,000 years. */
    private static final long MOST_SECONDS = 315_576_000_000L;

    private Clock() {}

    /** What a server says, which may be anything: no more than can be counted with, and nothing unless it is positive. */
    static Optional<Duration> positive(com.google.protobuf.Duration said) {
        long seconds = Math.max(-MOST_SECONDS, Math.min(said.getSeconds(), MOST_SECONDS));
        return Optional.of(Duration.ofSeconds(seconds, said.getNanos()))
                .filter(duration -> duration.compareTo(Duration.ZERO) > 0);
    }

    static long nanos(Duration duration) {
        return Math.min(TimeUnit.NANOSECONDS.convert(duration), FOREVER);
    }

    static long deadline(long nanos) {
        return System.nanoTime() + nanos;
    }

    static long remaining(long deadline) {
        return Math.max(0, deadline - System.nanoTime());
    }

    static Duration checked(String name, Duration duration) {
        if (duration.isZero() || duration.isNegative()) {
            throw new IllegalArgumentException(name + " is " + duration + "; it must be more than nothing");
        }
        return duration;
    }
}
