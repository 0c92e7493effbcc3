package io.factstr;

import io.grpc.Status.Code;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/** Owns which failure is which exception: by its reason, and where that is not known, by its status. */
final class Failures {
    private static final Map<String, Function<Failure, FactstrException>> BY_REASON = Map.ofEntries(
            Map.entry("EMPTY_APPEND", InvalidRequestException::new),
            Map.entry("INVALID_EVENT_TYPE", InvalidRequestException::new),
            Map.entry("INVALID_PAYLOAD", InvalidRequestException::new),
            Map.entry("INVALID_PREDICATE", InvalidRequestException::new),
            Map.entry("INVALID_METADATA", InvalidRequestException::new),
            Map.entry("INVALID_ARGUMENT", InvalidRequestException::new),
            Map.entry("BATCH_TOO_LARGE", BatchTooLargeException::new),
            Map.entry("UNSUPPORTED_FIELD", NotImplementedException::new),
            Map.entry("CONDITIONAL_APPEND_CONFLICT", ConditionalAppendConflictException::new),
            Map.entry("IDEMPOTENCY_KEY_REUSED", IdempotencyKeyReusedException::new),
            Map.entry("DURABLE_STREAM_ACTIVE", DurableStreamActiveException::new),
            Map.entry("DURABLE_STREAM_QUERY_MISMATCH", QueryMismatchException::new),
            Map.entry("DURABLE_STREAM_LEASE_LOST", LeaseLostException::new),
            Map.entry("DURABLE_STREAM_NOT_FOUND", DurableStreamNotFoundException::new),
            Map.entry("CURSOR_AHEAD_OF_LOG", CursorAheadOfLogException::new),
            Map.entry("LOG_DIVERGED", LogDivergedException::new),
            Map.entry("SERVER_BUSY", ServerBusyException::new),
            Map.entry("QUOTA_EXCEEDED", ServerBusyException::new),
            Map.entry("STORE_FULL", StoreFullException::new),
            Map.entry("STORE_UNAVAILABLE", UnavailableException::new),
            Map.entry("SERVER_DRAINING", UnavailableException::new),
            // A key is only of an append: `of` names it.
            Map.entry("APPEND_OUTCOME_UNKNOWN", failure -> new OutcomeUnknownException(failure, null)),
            Map.entry("STORE_CORRUPT", ServerErrorException::new),
            Map.entry("UNAUTHENTICATED", UnauthenticatedException::new),
            Map.entry("PERMISSION_DENIED", PermissionDeniedException::new),
            Map.entry("NOT_IMPLEMENTED", NotImplementedException::new),
            Map.entry("INTERNAL", ServerErrorException::new));

    private static final Map<Code, Function<Failure, FactstrException>> BY_CODE = Map.of(
            Code.INVALID_ARGUMENT, InvalidRequestException::new,
            Code.UNAVAILABLE, UnavailableException::new,
            Code.RESOURCE_EXHAUSTED, UnavailableException::new,
            Code.DEADLINE_EXCEEDED, DeadlineExceededException::new,
            Code.UNAUTHENTICATED, UnauthenticatedException::new,
            Code.PERMISSION_DENIED, PermissionDeniedException::new,
            Code.UNIMPLEMENTED, NotImplementedException::new,
            Code.INTERNAL, ServerErrorException::new,
            Code.UNKNOWN, ServerErrorException::new,
            Code.DATA_LOSS, ServerErrorException::new);

    /** Statuses after which an append may have been committed, when an unknown reason goes with them. */
    private static final Set<Code> PROMISING_NOTHING = Set.of(
            Code.UNAVAILABLE,
            Code.RESOURCE_EXHAUSTED,
            Code.DEADLINE_EXCEEDED,
            Code.CANCELLED,
            Code.INTERNAL,
            Code.UNKNOWN,
            Code.DATA_LOSS);

    /** Statuses that may pass, where there is no known reason; but they promise nothing. */
    private static final Set<Code> PASSING =
            Set.of(Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL);

    private Failures() {}

    /** The exception for a call that commits nothing. */
    static FactstrException ofRead(Failure failure) {
        Function<Failure, FactstrException> kind = isKnown(failure)
                ? BY_REASON.get(failure.reason())
                : BY_CODE.getOrDefault(failure.code(), FactstrException::new);
        return kind.apply(failure);
    }

    /** The exception for an append, of which it matters whether it was committed. */
    static FactstrException ofAppend(Failure failure, String idempotencyKey) {
        FactstrException error = ofRead(failure);
        boolean isOpen = isKnown(failure)
                ? error instanceof ServerErrorException || error instanceof OutcomeUnknownException
                : failure.reason() == null || PROMISING_NOTHING.contains(failure.code());
        return isOpen ? outcomeUnknown(failure, idempotencyKey) : error;
    }

    static OutcomeUnknownException outcomeUnknown(Failure failure, String idempotencyKey) {
        boolean isSaid = "APPEND_OUTCOME_UNKNOWN".equals(failure.reason());
        String words = failure.message() + (isSaid ? "" : " (the append may or may not have been committed)");
        return new OutcomeUnknownException(failure.withMessage(words), idempotencyKey);
    }

    /** Whether nothing was committed and another attempt may succeed. */
    static boolean isRefusedForNow(Failure failure) {
        String reason = failure.reason() == null ? "" : failure.reason();
        return reason.equals("SERVER_BUSY") || reason.equals("SERVER_DRAINING") || reason.equals("STORE_UNAVAILABLE");
    }

    /** Whether another attempt may succeed, but this one may have been committed. */
    static boolean mayPass(Failure failure) {
        return isKnown(failure)
                ? failure.reason().equals("APPEND_OUTCOME_UNKNOWN")
                        || failure.reason().equals("INTERNAL")
                : PASSING.contains(failure.code());
    }

    /** Whether its reason is one that this version knows. */
    static boolean isKnown(Failure failure) {
        return failure.reason() != null && BY_REASON.containsKey(failure.reason());
    }
}
