package io.factstr;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The server refused a call, or could not be asked. Decide by class or by {@link #reason}; the message is for people.
 *
 * <pre>
 * FactstrException                        everything below, and statuses that this version does not know
 * ├── InvalidRequestException             the request breaks a law of the contract
 * │   └── BatchTooLargeException          too many events or bytes: split the append
 * ├── ConditionalAppendConflictException  the context changed: read, decide and append again
 * ├── IdempotencyKeyReusedException       the key belongs to an earlier, different request
 * ├── UnavailableException                the server or its store does not answer now; try later
 * │   └── ServerBusyException             its queue is full, or a quota is used up
 * ├── StoreFullException                  the store has no room left
 * ├── OutcomeUnknownException             an append that may or may not have been committed
 * ├── DeadlineExceededException           a read that took longer than its timeout
 * ├── UnauthenticatedException            no valid token or certificate
 * ├── PermissionDeniedException           the caller's role does not allow this
 * ├── NotImplementedException             the server does not offer this call, or not with this field
 * ├── CursorAheadOfLogException           the position asked for is beyond the head of the log
 * ├── LogDivergedException                the log is not the one that a stream began on
 * ├── DurableStreamActiveException        another consumer holds the durable stream's lease
 * ├── QueryMismatchException              the durable stream's name is bound to another query
 * ├── LeaseLostException                  a durable stream was reset, deleted or taken
 * ├── DurableStreamNotFoundException      there is no durable stream of this name
 * ├── ServerErrorException                a defect of the server or its store
 * ├── ClosedException                     the store, stream or result was closed
 * └── CallInterruptedException            the caller cancelled what it waited for
 * </pre>
 *
 * <p>After an append threw anything but {@link OutcomeUnknownException}, nothing was committed.
 */
public class FactstrException extends RuntimeException {
    private final Failure failure;

    FactstrException(Failure failure) {
        super(failure.message(), failure.cause());
        this.failure = failure;
    }

    /**
     * Returns the gRPC status.
     *
     * @return its code
     */
    public Status.Code code() {
        return failure.code();
    }

    /**
     * Returns why the call was refused.
     *
     * @return the name of the contract's ErrorReason, also one that this version does not know; empty when the status
     *     came without one: then it came from something between here and the server, and promises nothing
     */
    public Optional<String> reason() {
        return Optional.ofNullable(failure.reason());
    }

    /**
     * Returns the numbers that go with the reason.
     *
     * @return texts by name
     */
    public Map<String, String> metadata() {
        return failure.metadata();
    }

    /**
     * Returns which fields of the request were invalid.
     *
     * @return at most eight
     */
    public List<FieldViolation> fieldViolations() {
        return failure.fieldViolations();
    }

    /**
     * Returns how long the server asks to wait before a repetition.
     *
     * @return the time; empty when it does not say
     */
    public Optional<Duration> retryDelay() {
        return Optional.ofNullable(failure.retryDelay());
    }

    Failure failure() {
        return failure;
    }
}
