package io.factstr;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Owns the reading of one call that is answered by several messages: as they are asked for, and no longer than asked.
 *
 * <p>gRPC's own blocking readers either cannot be bounded in time, or are experimental.
 */
final class Responses<T> {
    private final ClientCall<?, T> call;
    private final BlockingQueue<Arrival<T>> arrived = new LinkedBlockingQueue<>();
    private Arrival<T> end;

    /** A message, or how the call has ended, and the other one null. */
    private record Arrival<T>(T message, StatusRuntimeException end) {}

    <Q> Responses(ClientCall<Q, T> call, Q request) {
        this.call = call;
        call.start(
                new ClientCall.Listener<>() {
                    @Override
                    public void onMessage(T message) {
                        arrived.add(new Arrival<>(message, null));
                    }

                    @Override
                    public void onClose(Status status, Metadata trailers) {
                        arrived.add(new Arrival<>(null, status.asRuntimeException(trailers)));
                    }
                },
                new Metadata());
        call.sendMessage(request);
        call.halfClose();
        call.request(1);
    }

    /**
     * Waits for the next message, but no longer than so many nanoseconds.
     *
     * @return the message; null at the end of a call that has ended well
     * @throws StatusRuntimeException when the call has failed
     * @throws TimeoutException when nothing came in time; the call goes on
     * @throws InterruptedException when the thread is interrupted; the call goes on
     */
    T next(long nanos) throws TimeoutException, InterruptedException {
        Arrival<T> next = end != null ? end : arrived.poll(nanos, TimeUnit.NANOSECONDS);
        if (next == null) {
            throw new TimeoutException();
        }
        if (next.message() != null) {
            // One ahead, so that it travels while the caller is busy with this one.
            call.request(1);
            return next.message();
        }
        end = next;
        if (end.end().getStatus().isOk()) {
            return null;
        }
        throw end.end();
    }

    /** Ends the call, also for whoever waits for it. Harmless after the end, and again. */
    void cancel() {
        call.cancel("the reader is done", null);
    }
}
