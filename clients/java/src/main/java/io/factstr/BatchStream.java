package io.factstr;

import java.util.Iterator;

/**
 * Batches in commit order, whole, as they are committed: iterated, without an end.
 *
 * <p>An interruption that may pass (a lost connection, a server that stops or is busy) is gone over. Reading throws
 * what will not pass, and {@link LogDivergedException} when the server's log has become another one; then the stream is
 * closed. It is read by one thread at a time, another is refused with {@link IllegalStateException}. A thread that is
 * interrupted while it waits gets {@link CallInterruptedException}, and the stream can be read on.
 *
 * @param <B> the batches
 */
public abstract sealed class BatchStream<B extends Batch> implements Iterable<B>, AutoCloseable
        permits LiveStream, DurableStream {
    private final Following<?, B> following;
    private final Reader<?, B> reader;

    <M> BatchStream(Following<M, B> following) {
        this.following = following;
        this.reader = new Reader<>(following);
    }

    /**
     * Returns the batches that have not been handed over yet, also those that are still to be committed. It waits for
     * the next one, and ends when the stream is closed. Several iterators share the one stream.
     *
     * @return the batches
     */
    @Override
    public Iterator<B> iterator() {
        return reader.live();
    }

    /**
     * Returns the batches up to the head of the log, and ends there; the stream itself then goes on.
     *
     * @return the batches; its iterator throws {@link ClosedException} when the stream is closed before
     */
    public Iterable<B> untilCaughtUp() {
        return reader::untilCaughtUp;
    }

    /**
     * Returns how far the stream has come.
     *
     * @return everything up to this sequence number was handed over or does not match
     */
    public long position() {
        return following.position();
    }

    /** Ends the stream, also for a thread that is reading it. Harmless after the end, and again. */
    @Override
    public void close() {
        reader.close();
    }

    /** Closes the stream for a reason that whoever reads it is to know. */
    void fail(FactstrException reason) {
        reader.fail(reason);
    }
}
