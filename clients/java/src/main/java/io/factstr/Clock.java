package io.factstr;

import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Owns the arithmetic of times to wait, in nanoseconds: no length overflows. */
final class Clock {
    /** Longer than any program runs, and half of what a difference of two moments can hold. */
    static final long FOREVER = Long.MAX_VALUE / 2;

    private Clock() {}

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
