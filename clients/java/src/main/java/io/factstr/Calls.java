package io.factstr;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * Owns what every operation stands on: the channel, and a call with its repetitions.
 *
 * @param channel bears the token
 * @param endedLeases the epochs of the leases that this store's consumers have ended
 */
record Calls(Channel channel, Retries retries, Duration timeout, Lifetime lifetime, Set<Long> endedLeases) {
    Calls withTimeout(Duration limit) {
        return new Calls(channel, retries, Clock.checked("timeout", limit), lifetime, endedLeases);
    }

    /** Makes a call, with its repetitions, and waits for the answer. */
    <Q, R> R answer(MethodDescriptor<Q, R> method, Q request, Attempts attempts) {
        while (true) {
            attempts.begin();
            try {
                CallOptions options =
                        CallOptions.DEFAULT.withDeadlineAfter(attempts.attemptNanos(), TimeUnit.NANOSECONDS);
                return ClientCalls.blockingUnaryCall(channel, method, options, request);
            } catch (StatusRuntimeException failed) {
                pause(attempts.delayAfter(failed));
            }
        }
    }

    /** Begins a call that is answered by several messages. */
    <Q, R> Responses<R> open(MethodDescriptor<Q, R> method, Q request) {
        checkGoesOn();
        return new Responses<>(channel.newCall(method, CallOptions.DEFAULT), request);
    }

    void pause(long nanos) {
        lifetime.pause(nanos, () -> false);
    }

    boolean isCancelled() {
        return Thread.currentThread().isInterrupted()
                || io.grpc.Context.current().isCancelled();
    }

    /** Throws when the store is closed or the caller has cancelled, so that nothing more is sent. */
    void checkGoesOn() {
        if (lifetime.hasEnded()) {
            throw closed("the store");
        }
        if (isCancelled()) {
            throw interrupted();
        }
    }

    static ClosedException closed(String what) {
        return new ClosedException(Failure.of(Status.Code.CANCELLED, what + " is closed"));
    }

    static CallInterruptedException interrupted() {
        return new CallInterruptedException(Failure.of(Status.Code.CANCELLED, "the caller has cancelled"));
    }
}
