"""Refusals as gRPC statuses with rich details: ErrorInfo always, typed details where the contract names them."""

from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from factstr.v1 import errors_pb2
from factstr.v1.event_store_service_pb2 import AppendFailure
from factstr_server.contract.errors import ConditionalAppendConflict, FieldViolation, Reason, Refusal


@dataclass(frozen=True)
class _Status(grpc.Status):
    """How a call ends."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


ERROR_DOMAIN: Final = "factstr"

MAX_MESSAGE_BYTES: Final = 512
MAX_DETAILS_BYTES: Final = 3 * 1024
"""Larger trailers are lost on the way to the client."""

_MAX_DESCRIPTION_BYTES: Final = 256
_MAX_METADATA_VALUE_BYTES: Final = 128

CODES: Final[dict[Reason, int]] = {
    Reason.EMPTY_APPEND: code_pb2.INVALID_ARGUMENT,
    Reason.INVALID_EVENT_TYPE: code_pb2.INVALID_ARGUMENT,
    Reason.INVALID_PAYLOAD: code_pb2.INVALID_ARGUMENT,
    Reason.INVALID_PREDICATE: code_pb2.INVALID_ARGUMENT,
    Reason.INVALID_METADATA: code_pb2.INVALID_ARGUMENT,
    Reason.INVALID_ARGUMENT: code_pb2.INVALID_ARGUMENT,
    Reason.BATCH_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
    Reason.UNSUPPORTED_FIELD: code_pb2.UNIMPLEMENTED,
    Reason.CONDITIONAL_APPEND_CONFLICT: code_pb2.ABORTED,
    Reason.IDEMPOTENCY_KEY_REUSED: code_pb2.ALREADY_EXISTS,
    Reason.DURABLE_STREAM_ACTIVE: code_pb2.FAILED_PRECONDITION,
    Reason.DURABLE_STREAM_QUERY_MISMATCH: code_pb2.FAILED_PRECONDITION,
    Reason.DURABLE_STREAM_LEASE_LOST: code_pb2.ABORTED,
    Reason.DURABLE_STREAM_NOT_FOUND: code_pb2.NOT_FOUND,
    Reason.CURSOR_AHEAD_OF_LOG: code_pb2.OUT_OF_RANGE,
    Reason.LOG_DIVERGED: code_pb2.DATA_LOSS,
    Reason.SERVER_BUSY: code_pb2.RESOURCE_EXHAUSTED,
    Reason.QUOTA_EXCEEDED: code_pb2.RESOURCE_EXHAUSTED,
    Reason.STORE_FULL: code_pb2.RESOURCE_EXHAUSTED,
    Reason.STORE_UNAVAILABLE: code_pb2.UNAVAILABLE,
    Reason.SERVER_DRAINING: code_pb2.UNAVAILABLE,
    Reason.APPEND_OUTCOME_UNKNOWN: code_pb2.UNKNOWN,
    Reason.STORE_CORRUPT: code_pb2.DATA_LOSS,
    Reason.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: code_pb2.PERMISSION_DENIED,
    Reason.NOT_IMPLEMENTED: code_pb2.UNIMPLEMENTED,
    Reason.INTERNAL: code_pb2.INTERNAL,
}


def grpc_status(refusal: Refusal, request_id: str) -> grpc.Status:
    """What ends the call: code, message, and the trailers: the details, and what the call is known by in the log."""
    status = rpc_status.to_status(rich_status(refusal))
    return _Status(
        status.code, status.details, (*(status.trailing_metadata or ()), ("x-request-id", request_id))
    )


def rich_status(refusal: Refusal) -> status_pb2.Status:
    """The refusal as `google.rpc.Status`, at most 3 KiB: descriptions shrink first, then violations are counted
    instead of named.
    """
    status = status_pb2.Status(
        code=CODES[refusal.reason],
        message=shortened(refusal.message, MAX_MESSAGE_BYTES),
    )
    metadata = {key: shortened(value, _MAX_METADATA_VALUE_BYTES) for key, value in refusal.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=ERROR_DOMAIN, metadata=metadata)
    _add(status, info)
    if refusal.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(refusal.retry_after)
        _add(status, retry)
    if isinstance(refusal, ConditionalAppendConflict):
        _add(
            status,
            errors_pb2.ConditionalAppendConflict(
                expected_context_version=refusal.expected, actual_context_version=refusal.actual
            ),
        )
    if refusal.violations:
        _add_violations(status, info, refusal.violations)
    return status


def append_failure(refusal: Refusal) -> AppendFailure:
    """What the status of the unary call would have said, as the outcome of one append of many."""
    status = rich_status(refusal)
    failure = AppendFailure(code=status.code, reason=_reason_number(refusal.reason), message=status.message)
    for detail in status.details:
        info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), RetryInfo()
        if detail.Unpack(info):
            failure.metadata.update(info.metadata)
        elif detail.Unpack(request):
            for violation in request.field_violations:
                failure.field_violations.add(field=violation.field, description=violation.description)
        elif detail.Unpack(retry):
            failure.retry_delay.CopyFrom(retry.retry_delay)
        else:
            detail.Unpack(failure.conflict)
    return failure


def _reason_number(reason: Reason) -> errors_pb2.ErrorReason.ValueType:
    return errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")


def shortened(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, with an ellipsis where it was cut."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _add_violations(
    status: status_pb2.Status, info: error_details_pb2.ErrorInfo, violations: tuple[FieldViolation, ...]
) -> None:
    """As many violations as fit; the rest are counted in `more_violations`."""
    shown = [
        error_details_pb2.BadRequest.FieldViolation(
            field=shortened(v.field, _MAX_DESCRIPTION_BYTES),
            description=shortened(v.description, _MAX_DESCRIPTION_BYTES),
        )
        for v in violations
    ]
    counted = int(info.metadata.get("more_violations", "0"))
    room = MAX_DETAILS_BYTES - status.ByteSize() - 128
    while len(shown) > 1 and error_details_pb2.BadRequest(field_violations=shown).ByteSize() > room:
        shown.pop()
        counted += 1
    if counted:
        info.metadata["more_violations"] = str(counted)
        status.details[0].Pack(info)
    _add(status, error_details_pb2.BadRequest(field_violations=shown))
