"""Owns what can go wrong: one tree of exceptions, and the way from a gRPC status to the right one.

    FactstrError                        everything below, and statuses that this version does not know
    ├── InvalidRequest                  the request breaks a law of the contract; `field_violations` say where
    │   └── BatchTooLarge               too many events or bytes: split the append
    ├── ConditionalAppendConflict       the context changed: read, decide and append again
    ├── IdempotencyKeyReused            the key belongs to an earlier, different request
    ├── Unavailable                     the server or its store does not answer now; try later
    │   └── ServerBusy                  its queue is full, or a quota is used up
    ├── StoreFull                       the store has no room left
    ├── OutcomeUnknown                  an append, or a change of a durable stream, that may or may not have been made
    ├── DeadlineExceeded                a read that took longer than its timeout
    ├── Unauthenticated                 no valid token or certificate
    ├── PermissionDenied                the caller's role does not allow this
    ├── NotImplementedByServer          the server does not offer this call, or not with this field
    ├── CursorAheadOfLog                the position asked for is beyond the head of the log
    ├── LogDiverged                     the log is not the one that a stream began on
    ├── DurableStreamActive             another consumer holds the durable stream's lease
    ├── QueryMismatch                   the durable stream's name is bound to another query
    ├── LeaseLost                       a durable stream's lease was ended or taken: read on with a new one
    ├── DurableStreamNotFound           there is no durable stream of this name
    ├── StoreClosed                     the store or the appender was closed, so nothing was sent
    └── ServerError                     a defect of the server or its store

After an append raised anything but OutcomeUnknown, nothing was committed; a change of a durable stream likewise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from factstr.v1 import errors_pb2, event_store_service_pb2

_DOMAIN: Final = "factstr"
_LONGEST_DELAY: Final = 365 * 86_400.0
_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request: its path, for example `events[3].payload`, and what would be right."""

    field: str
    description: str


class FactstrError(Exception):
    """The server refused a call, or could not be asked. `str(error)` is for people; decide by class or by `reason`."""

    message: str
    """What was wrong, where, and what would be right."""
    code: grpc.StatusCode
    """The gRPC status."""
    reason: str | None
    """The name of the contract's ErrorReason, also one that this version does not know; None when the status came
    without one: then it came from something between here and the server, and promises nothing."""
    metadata: Mapping[str, str]
    """The numbers that go with the reason."""
    field_violations: tuple[FieldViolation, ...]
    """Which fields were invalid: at most eight."""
    retry_delay: float | None
    """How many seconds the server asks to wait before a repetition."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = field_violations
        self.retry_delay = retry_delay


class InvalidRequest(FactstrError):
    """The request breaks a law of the contract; it will never succeed as it is."""


class BatchTooLarge(InvalidRequest):
    """The append holds too many events or bytes. `metadata` has `limit_name`, `limit` and `actual`."""


class ConditionalAppendConflict(FactstrError):
    """The context's version is not the expected one. Read the context again, decide again, append again."""

    expected: int | None = None
    """The version that was expected, as sent; None when no fact was expected to match."""
    actual: int | None = None
    """The version that the context has; None when no fact matches."""


class IdempotencyKeyReused(FactstrError):
    """The idempotency key belongs to an earlier, different request."""


class Unavailable(FactstrError):
    """The server or its store does not answer now. An append that raised this was not committed."""


class ServerBusy(Unavailable):
    """The server's queue is full, or the caller's quota is used up."""


class StoreFull(FactstrError):
    """The store has no room left."""


class OutcomeUnknown(FactstrError):
    """The append may or may not have been committed. With its `idempotency_key` it may be sent again as it was.

    A reset or deletion of a durable stream raises it too: look at the stream before doing it again.
    """

    idempotency_key: str | None = None
    """The key that the append was sent with, also one that was made for it; None when it had none, and in an
    appender, where it is the caller's."""


class DeadlineExceeded(FactstrError):
    """A read took longer than its timeout."""


class Unauthenticated(FactstrError):
    """The call carries no valid token or certificate."""


class PermissionDenied(FactstrError):
    """The caller's role does not allow this call. `metadata` has `required_role`."""


class NotImplementedByServer(FactstrError):
    """The server does not offer this call, or does not know a field of the request."""


class CursorAheadOfLog(FactstrError):
    """The position asked for is beyond the head: it is of another log, or this one lost its tail."""

    @property
    def asked_for(self) -> int | None:
        """The position; None when the server does not say."""
        return _number(self.metadata.get("asked_for"))

    @property
    def head_sequence_number(self) -> int | None:
        """The head of the log; None when the server does not say."""
        return _number(self.metadata.get("head_sequence_number"))


class LogDiverged(FactstrError):
    """The log is not the one that this stream began on: a failover or a restore lost its tail, or it is another store.

    What was read from it may be no fact of this log: begin anew, from a position that both have.
    """


class DurableStreamActive(FactstrError):
    """Another consumer holds the durable stream's lease. Wait for it (`wait_for_lease`), or use `force`."""

    @property
    def holder(self) -> str:
        """Who holds it, for people."""
        return self.metadata.get("holder", "")

    @property
    def lease_epoch(self) -> int | None:
        """The epoch of the holder's lease; None when the server does not say."""
        return _number(self.metadata.get("lease_epoch"))


class QueryMismatch(FactstrError):
    """The durable stream's name is bound to another query. Use another name, or delete this one."""


class LeaseLost(FactstrError):
    """The durable stream was reset or deleted by force, or another consumer has taken it: this one is done."""


class DurableStreamNotFound(FactstrError):
    """There is no durable stream of this name."""


class StoreClosed(FactstrError):
    """The store, the appender, or the result that was being read was closed before. Nothing was sent."""


class ServerError(FactstrError):
    """A defect of the server or its store. `metadata` may have an `error_id` that is also in the server's log."""


_BY_REASON: Final[Mapping[str, type[FactstrError]]] = {
    "EMPTY_APPEND": InvalidRequest,
    "INVALID_EVENT_TYPE": InvalidRequest,
    "INVALID_PAYLOAD": InvalidRequest,
    "INVALID_PREDICATE": InvalidRequest,
    "INVALID_METADATA": InvalidRequest,
    "INVALID_ARGUMENT": InvalidRequest,
    "BATCH_TOO_LARGE": BatchTooLarge,
    "UNSUPPORTED_FIELD": NotImplementedByServer,
    "CONDITIONAL_APPEND_CONFLICT": ConditionalAppendConflict,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReused,
    "DURABLE_STREAM_ACTIVE": DurableStreamActive,
    "DURABLE_STREAM_QUERY_MISMATCH": QueryMismatch,
    "DURABLE_STREAM_LEASE_LOST": LeaseLost,
    "DURABLE_STREAM_NOT_FOUND": DurableStreamNotFound,
    "CURSOR_AHEAD_OF_LOG": CursorAheadOfLog,
    "LOG_DIVERGED": LogDiverged,
    "SERVER_BUSY": ServerBusy,
    "QUOTA_EXCEEDED": ServerBusy,
    "STORE_FULL": StoreFull,
    "STORE_UNAVAILABLE": Unavailable,
    "SERVER_DRAINING": Unavailable,
    "APPEND_OUTCOME_UNKNOWN": OutcomeUnknown,
    "STORE_CORRUPT": ServerError,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_IMPLEMENTED": NotImplementedByServer,
    "INTERNAL": ServerError,
}

KNOWN_REASONS: Final = frozenset(_BY_REASON)
"""The reasons that this version decides by; any other is treated by its status."""

_BY_CODE: Final[Mapping[grpc.StatusCode, type[FactstrError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: NotImplementedByServer,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.DATA_LOSS: ServerError,
}

_PROMISING_NOTHING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses after which an append may have been committed, when their reason does not say otherwise."""


_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def error_from(call: grpc.RpcError, *, appending: bool) -> FactstrError:
    """Return the exception for a failed call; `appending` says whether it changes something, so that it matters
    whether it did.
    """
    status = _rich_status(call)
    info = _detail(status, error_details_pb2.ErrorInfo())
    ours = info.domain == _DOMAIN and bool(info.reason)
    reason = info.reason if ours else None
    violations = _detail(status, error_details_pb2.BadRequest()).field_violations
    retry = _detail(status, error_details_pb2.RetryInfo())
    code = call.code()
    message = call.details() or code.name
    kind = _kind(reason, code, appending=appending)
    if kind is OutcomeUnknown and reason != "APPEND_OUTCOME_UNKNOWN":
        message = f"{message} ({code.name}; it may or may not have been committed)"
    error = kind(
        message,
        code=code,
        reason=reason,
        metadata=info.metadata if ours else None,
        field_violations=tuple(FieldViolation(v.field, v.description) for v in violations),
        retry_delay=_seconds(retry.retry_delay) if retry.HasField("retry_delay") else None,
    )
    if isinstance(error, ConditionalAppendConflict):
        _add_versions(error, _detail(status, errors_pb2.ConditionalAppendConflict()))
    return error


def error_from_outcome(failure: event_store_service_pb2.AppendFailure) -> FactstrError:
    """Return the exception for an append that was refused in a pipeline: nothing of it was committed."""
    named = failure.reason in errors_pb2.ErrorReason.values() and failure.reason
    reason = errors_pb2.ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_") if named else None
    code = _CODES.get(failure.code, grpc.StatusCode.UNKNOWN)
    error = _kind(reason, code, appending=False)(
        failure.message or code.name,
        code=code,
        reason=reason,
        metadata=failure.metadata,
        field_violations=tuple(FieldViolation(v.field, v.description) for v in failure.field_violations),
        retry_delay=_seconds(failure.retry_delay) if failure.HasField("retry_delay") else None,
    )
    if isinstance(error, ConditionalAppendConflict):
        _add_versions(error, failure.conflict)
    return error


def _add_versions(error: ConditionalAppendConflict, conflict: errors_pb2.ConditionalAppendConflict) -> None:
    if conflict.HasField("expected_context_version"):
        error.expected = conflict.expected_context_version
    if conflict.HasField("actual_context_version"):
        error.actual = conflict.actual_context_version


def _kind(reason: str | None, code: grpc.StatusCode, *, appending: bool) -> type[FactstrError]:
    if reason is not None and reason in _BY_REASON:
        kind = _BY_REASON[reason]
        unknown = kind is ServerError
    else:
        kind = _BY_CODE.get(code, FactstrError)
        unknown = reason is None or code in _PROMISING_NOTHING
    return OutcomeUnknown if appending and unknown else kind


def _seconds(delay: Duration) -> float:
    # No clock of Python's takes any number.
    return min(max(0.0, delay.seconds + delay.nanos / 1e9), _LONGEST_DELAY)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _rich_status(call: grpc.RpcError) -> status_pb2.Status:
    """Return the details trailer; an empty status when there is none, or something on the way has damaged it."""
    try:
        return rpc_status.from_call(cast("grpc.Call", call)) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()


def _detail(status: status_pb2.Status, empty: _Detail) -> _Detail:
    """Fill `empty` with the status's detail of its type, if there is one."""
    for packed in status.details:
        try:
            if packed.Unpack(empty):
                break
        except DecodeError:
            empty.Clear()
    return empty
