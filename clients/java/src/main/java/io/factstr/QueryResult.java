package io.factstr;

import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.QueryResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Collections;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.OptionalLong;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The facts that a query returns, in the order asked, read from the server as they are iterated, once.
 *
 * <p>A result of any size takes bounded memory, and is one snapshot even when the connection is lost in the middle.
 * Close it where it is left before its end. Reading it throws {@link FactstrException}, after it was closed {@link
 * ClosedException}.
 */
public final class QueryResult implements Iterable<EventRecord>, AutoCloseable {
    private final Calls calls;
    private final Reading reading;
    private final Iterator<EventRecord> records = new Records();
    private Iterator<EventRecord> arrived = Collections.emptyIterator();
    private volatile Responses<QueryResponse> responses;
    private boolean isAtEnd;
    private volatile boolean isClosed;

    QueryResult(Calls calls, Reading reading) {
        this.calls = calls;
        this.reading = reading;
        try {
            // Read now: the first message names the context version, and an error belongs to the query itself.
            receive();
        } catch (RuntimeException failure) {
            close();
            throw failure;
        }
    }

    /**
     * Returns the version of the full context in this snapshot.
     *
     * @return the highest sequence number among all facts that match; empty when none does
     */
    public OptionalLong contextVersion() {
        return reading.contextVersion();
    }

    /**
     * Returns how far the result has been received.
     *
     * @return the last fact so far, in the order asked; empty while there was none
     */
    public OptionalLong lastReturnedSequenceNumber() {
        return reading.lastReturned();
    }

    /**
     * Returns the facts that have not been read yet.
     *
     * @return the same iterator each time
     */
    @Override
    public Iterator<EventRecord> iterator() {
        return records;
    }

    /**
     * Returns the facts that have not been read yet, as a stream that closes this result.
     *
     * @return a sequential stream
     */
    public Stream<EventRecord> stream() {
        return StreamSupport.stream(spliterator(), false).onClose(this::close);
    }

    /** Stops reading, also for a thread that waits; the server stops sending. Harmless after the end, and again. */
    @Override
    public void close() {
        isClosed = true;
        Responses<QueryResponse> call = responses;
        if (call != null) {
            call.cancel();
        }
    }

    private final class Records implements Iterator<EventRecord> {
        @Override
        public boolean hasNext() {
            if (!isAtEnd && !arrived.hasNext()) {
                checkOpen();
                receive();
            }
            return arrived.hasNext();
        }

        @Override
        public EventRecord next() {
            if (!hasNext()) {
                throw new NoSuchElementException();
            }
            return arrived.next();
        }
    }

    private void checkOpen() {
        if (isClosed) {
            throw Calls.closed("the result");
        }
    }

    /** Reads until facts have come, or the end. Only facts are coming further: timeout and repetitions last for all. */
    private void receive() {
        Attempts attempts = Attempts.ofRead(calls);
        while (!isAtEnd && !arrived.hasNext()) {
            try {
                QueryResponse message = next(attempts);
                if (message == null) {
                    isAtEnd = true;
                } else {
                    arrived = reading.take(message).iterator();
                }
            } catch (StatusRuntimeException failed) {
                responses = null;
                checkOpen();
                isAtEnd = reading.isDone();
                if (!isAtEnd) {
                    calls.pause(attempts.delayAfter(failed));
                }
            } catch (LogDivergedException diverged) {
                close();
                throw diverged;
            }
        }
    }

    private QueryResponse next(Attempts attempts) {
        if (responses == null) {
            attempts.begin();
            responses = calls.open(EventStoreServiceGrpc.getQueryMethod(), reading.request());
            // Perhaps by another thread, which has not seen this call.
            if (isClosed) {
                close();
            }
        }
        try {
            QueryResponse message = responses.next(attempts.attemptNanos());
            if (message == null && !reading.mayEnd()) {
                throw Status.UNAVAILABLE
                        .withDescription("the result ended before all of it was there")
                        .asRuntimeException();
            }
            return message;
        } catch (TimeoutException silent) {
            responses.cancel();
            throw Status.DEADLINE_EXCEEDED
                    .withDescription("the server did not answer in time")
                    .asRuntimeException();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw Calls.interrupted();
        }
    }
}
