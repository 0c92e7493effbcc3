package io.factstr;

import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/** Owns whether a store is closed, and the waits that its closing cuts short. */
final class Lifetime {
    // No monitor: waiting in one would hold a virtual thread's carrier.
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private volatile boolean ended;

    boolean hasEnded() {
        return ended;
    }

    void end() {
        ended = true;
        wake();
    }

    /** Makes those who wait look again at what else may have ended their wait. */
    void wake() {
        lock.lock();
        try {
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Waits, unless the store ends or the thread is interrupted, and stays so. Whoever goes on looks at both.
     *
     * @param isOver what else ends the wait, once somebody calls {@link #wake}
     */
    void pause(long nanos, BooleanSupplier isOver) {
        long left = nanos;
        lock.lock();
        try {
            while (left > 0 && !ended && !isOver.getAsBoolean()) {
                left = changed.awaitNanos(left);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
    }
}
