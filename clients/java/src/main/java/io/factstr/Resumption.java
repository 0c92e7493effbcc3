package io.factstr;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/**
 * Owns when an interrupted stream is taken up again, after how long, and how long a silence is an interruption.
 *
 * <p>Until it has begun, the ordinary limits of a read hold. From then on it is taken up again for as long as it takes,
 * or for a time in which it did not come further.
 */
final class Resumption {
    private static final int HEARTBEATS_MISSED = 3;
    /** Beyond the heartbeats, for a server, a network or a caller's machine that is busy. */
    private static final Duration GRACE = Duration.ofSeconds(5);
    /** Of a server that has not said yet how often its messages come. */
    private static final Duration USUAL_HEARTBEAT = Duration.ofSeconds(10);

    private final Calls calls;
    private final Duration giveUpAfter;
    private Duration heartbeat = USUAL_HEARTBEAT;
    private Attempts attempts;
    // Also for a thread that acknowledges.
    private volatile boolean hasBegun;
    private volatile boolean isOpen;

    /** The time may be null: as long as it takes. */
    Resumption(Calls calls, Duration giveUpAfter) {
        this.calls = calls;
        this.giveUpAfter = giveUpAfter;
        this.attempts = Attempts.ofRead(calls);
    }

    /** Whether the call under way has begun to deliver. */
    boolean isOpen() {
        return isOpen;
    }

    /** Takes note that a call has begun to deliver, and how often it says something from now on. */
    void opened(com.google.protobuf.Duration interval) {
        heartbeat = Clock.positive(interval).orElse(USUAL_HEARTBEAT);
        isOpen = true;
        if (!hasBegun) {
            waits();
        }
    }

    /** Takes note that the stream has come further, which is more than a beginning: a server may fail after each. */
    void progressed() {
        if (hasBegun) {
            attempts = null;
        }
    }

    /** Takes note that this consumer waits for its turn: it is alive, and lasts from now on as one that has begun. */
    void waits() {
        hasBegun = true;
        attempts = null;
    }

    /** How many nanoseconds to wait for the next message. */
    long patienceNanos() {
        long silence = Clock.nanos(heartbeat.multipliedBy(HEARTBEATS_MISSED).plus(GRACE));
        return isOpen || attempts == null ? silence : Math.min(silence, attempts.remainingNanos());
    }

    /** What it means that the patience was in vain. */
    StatusRuntimeException silent() {
        boolean isTimeout = !hasBegun && attempts.remainingNanos() == 0;
        Status status = isTimeout ? Status.DEADLINE_EXCEEDED : Status.UNAVAILABLE;
        return status.withDescription("the server said nothing for too long").asRuntimeException();
    }

    /** How many nanoseconds to wait before the next call; throws the failure when there is none. */
    long delayAfter(StatusRuntimeException failed) {
        isOpen = false;
        if (attempts == null) {
            attempts = attempts();
        }
        return attempts.delayAfter(failed);
    }

    /** The attempts of a call that belongs to the stream: as lasting as the stream itself. */
    Attempts attempts() {
        return hasBegun ? new Attempts.Lasting(calls, giveUpAfter) : Attempts.ofRead(calls);
    }
}
