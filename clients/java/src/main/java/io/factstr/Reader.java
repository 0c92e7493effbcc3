package io.factstr;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/**
 * Owns the reading of a stream: one call after the other, as batches are asked for.
 *
 * @param <M> the messages
 * @param <B> the batches
 */
final class Reader<M, B extends Batch> {
    private final Following<M, B> following;
    private final ReentrantLock isBeingRead = new ReentrantLock();
    private volatile Responses<M> call;
    private volatile boolean isClosed;
    private volatile FactstrException failure;

    Reader(Following<M, B> following) {
        this.following = following;
        try {
            // Read now, so that registration is active and an error belongs to the opening of the stream.
            if (!advance(following.resumption::isOpen)) {
                throw Calls.closed("the stream");
            }
        } catch (RuntimeException failed) {
            close();
            throw failed;
        }
    }

    /** The batches, for as long as the stream is open. */
    Iterator<B> live() {
        return new Batches() {
            @Override
            public boolean hasNext() {
                return advance(following::hasBatch);
            }
        };
    }

    /** The batches up to the head. A stream that was closed before is no stream that has come so far. */
    Iterator<B> untilCaughtUp() {
        return new Batches() {
            @Override
            public boolean hasNext() {
                if (!advance(following::hasBatchOrIsCaughtUp)) {
                    throw Calls.closed("the stream");
                }
                return following.hasBatch();
            }
        };
    }

    private abstract class Batches implements Iterator<B> {
        @Override
        public B next() {
            // What has arrived is handed over, whoever has closed the stream since it was said to be there.
            if (!following.hasBatch() && !hasNext()) {
                throw new NoSuchElementException();
            }
            return following.handOver();
        }
    }

    void close() {
        isClosed = true;
        following.closed();
        following.calls.lifetime().wake();
        dropCall();
    }

    /** Closes the stream for a reason that whoever reads it is to know. */
    void fail(FactstrException reason) {
        failure = reason;
        close();
    }

    /** Reads until it is enough, through as many calls as it takes; returns false when the stream is closed. */
    private boolean advance(BooleanSupplier isEnough) {
        if (!isBeingRead.tryLock()) {
            throw new IllegalStateException("another thread is reading this stream; give each a stream of its own");
        }
        try {
            while (!isClosed) {
                if (isEnough.getAsBoolean()) {
                    return true;
                }
                readOn();
            }
        } catch (CallInterruptedException cancelled) {
            // Nothing is lost: the stream can be read on.
            throw cancelled;
        } catch (FactstrException failed) {
            fail(failed);
        } finally {
            isBeingRead.unlock();
        }
        if (failure != null) {
            throw failure;
        }
        return false;
    }

    private void readOn() {
        try {
            following.take(receive());
        } catch (StatusRuntimeException failed) {
            dropCall();
            if (!isClosed) {
                following.calls.lifetime().pause(following.delayAfter(failed), () -> isClosed);
            }
        }
    }

    private M receive() {
        // Another thread that closes the stream drops it.
        Responses<M> current = call;
        if (current == null) {
            current = following.open();
            call = current;
            if (isClosed) {
                // Perhaps before it could see this call.
                current.cancel();
            }
        }
        try {
            M message = current.next(following.resumption.patienceNanos());
            if (message == null) {
                throw Status.UNAVAILABLE
                        .withDescription("the stream ended without a reason")
                        .asRuntimeException();
            }
            return message;
        } catch (TimeoutException silent) {
            throw following.resumption.silent();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw Calls.interrupted();
        }
    }

    private void dropCall() {
        Responses<M> dropped = call;
        call = null;
        if (dropped != null) {
            dropped.cancel();
        }
    }
}
