"""Every status becomes the exception that says what a caller may do about it."""

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

import factstr
from factstr.errors import KNOWN_REASONS, error_from
from factstr.v1 import errors_pb2
from tests.client.fake_server import Refusal, conflict

Code = grpc.StatusCode

BY_REASON = [
    ("EMPTY_APPEND", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("INVALID_EVENT_TYPE", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("INVALID_PAYLOAD", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("INVALID_PREDICATE", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("INVALID_METADATA", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("INVALID_ARGUMENT", Code.INVALID_ARGUMENT, factstr.InvalidRequest),
    ("BATCH_TOO_LARGE", Code.INVALID_ARGUMENT, factstr.BatchTooLarge),
    ("UNSUPPORTED_FIELD", Code.UNIMPLEMENTED, factstr.NotImplementedByServer),
    ("CONDITIONAL_APPEND_CONFLICT", Code.ABORTED, factstr.ConditionalAppendConflict),
    ("IDEMPOTENCY_KEY_REUSED", Code.ALREADY_EXISTS, factstr.IdempotencyKeyReused),
    ("SERVER_BUSY", Code.RESOURCE_EXHAUSTED, factstr.ServerBusy),
    ("QUOTA_EXCEEDED", Code.RESOURCE_EXHAUSTED, factstr.ServerBusy),
    ("STORE_FULL", Code.RESOURCE_EXHAUSTED, factstr.StoreFull),
    ("STORE_UNAVAILABLE", Code.UNAVAILABLE, factstr.Unavailable),
    ("SERVER_DRAINING", Code.UNAVAILABLE, factstr.Unavailable),
    ("APPEND_OUTCOME_UNKNOWN", Code.UNKNOWN, factstr.OutcomeUnknown),
    ("UNAUTHENTICATED", Code.UNAUTHENTICATED, factstr.Unauthenticated),
    ("PERMISSION_DENIED", Code.PERMISSION_DENIED, factstr.PermissionDenied),
    ("DURABLE_STREAM_ACTIVE", Code.FAILED_PRECONDITION, factstr.DurableStreamActive),
    ("DURABLE_STREAM_QUERY_MISMATCH", Code.FAILED_PRECONDITION, factstr.QueryMismatch),
    ("DURABLE_STREAM_LEASE_LOST", Code.ABORTED, factstr.LeaseLost),
    ("DURABLE_STREAM_NOT_FOUND", Code.NOT_FOUND, factstr.DurableStreamNotFound),
    ("CURSOR_AHEAD_OF_LOG", Code.OUT_OF_RANGE, factstr.CursorAheadOfLog),
    ("LOG_DIVERGED", Code.DATA_LOSS, factstr.LogDiverged),
    ("NOT_IMPLEMENTED", Code.UNIMPLEMENTED, factstr.NotImplementedByServer),
]


class Failure(grpc.RpcError):
    """What gRPC raises for a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def code(self) -> grpc.StatusCode:
        return self.refusal.code

    def details(self) -> str:
        return self.refusal.message

    def trailing_metadata(self) -> Any:
        return self.refusal.trailers()


def raised(refusal: Refusal, *, appending: bool = False) -> factstr.FactstrError:
    return error_from(Failure(refusal), appending=appending)


@pytest.mark.parametrize("appending", [False, True])
@pytest.mark.parametrize(("reason", "code", "kind"), BY_REASON, ids=[reason for reason, _, _ in BY_REASON])
def test_a_reason_names_its_exception(
    reason: str, code: grpc.StatusCode, kind: type[factstr.FactstrError], appending: bool
) -> None:
    error = raised(Refusal(code, "what was wrong", reason, {"limit": "7"}), appending=appending)
    assert type(error) is kind
    assert (error.reason, error.code, error.message) == (reason, code, "what was wrong")
    assert (str(error), error.metadata) == ("what was wrong", {"limit": "7"})


@pytest.mark.parametrize("reason", ["INTERNAL", "STORE_CORRUPT"])
def test_a_defect_leaves_only_the_outcome_of_an_append_in_doubt(reason: str) -> None:
    refusal = Refusal(Code.INTERNAL, "defect 77", reason)
    assert type(raised(refusal)) is factstr.ServerError
    appended = raised(refusal, appending=True)
    assert type(appended) is factstr.OutcomeUnknown
    assert appended.message == "defect 77 (INTERNAL; it may or may not have been committed)"


def test_every_reason_of_the_contract_has_an_exception() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert reasons - {"UNSPECIFIED"} == KNOWN_REASONS


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_a_status_without_a_reason_promises_nothing_about_an_append(code: grpc.StatusCode) -> None:
    error = raised(Refusal(code), appending=True)
    assert type(error) is factstr.OutcomeUnknown
    assert error.reason is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.UNAVAILABLE, factstr.Unavailable),
        (Code.DEADLINE_EXCEEDED, factstr.DeadlineExceeded),
        (Code.UNIMPLEMENTED, factstr.NotImplementedByServer),
        (Code.UNKNOWN, factstr.ServerError),
        (Code.CANCELLED, factstr.FactstrError),
    ],
)
def test_a_read_without_a_reason_is_treated_by_its_status(
    code: grpc.StatusCode, kind: type[factstr.FactstrError]
) -> None:
    assert type(raised(Refusal(code))) is kind


def test_an_unknown_reason_is_treated_by_its_status() -> None:
    refused = Refusal(Code.INVALID_ARGUMENT, "no", "INVALID_COLOUR")
    assert type(raised(refused, appending=True)) is factstr.InvalidRequest
    assert raised(refused).reason == "INVALID_COLOUR"
    away = Refusal(Code.UNAVAILABLE, "moon", "WRONG_MOON")
    assert type(raised(away)) is factstr.Unavailable
    assert type(raised(away, appending=True)) is factstr.OutcomeUnknown


def test_another_domains_reason_is_none_of_ours() -> None:
    refusal = Refusal(Code.UNAVAILABLE, "proxy", "SERVER_BUSY", {"a": "b"}, domain="proxy.example")
    error = raised(refusal, appending=True)
    assert (type(error), error.reason, error.metadata) == (factstr.OutcomeUnknown, None, {})


@pytest.mark.parametrize(("expected", "actual"), [(3, 5), (None, 5), (3, None), (0, 1)])
def test_a_conflict_knows_both_versions(expected: int | None, actual: int | None) -> None:
    error = raised(conflict(expected, actual), appending=True)
    assert isinstance(error, factstr.ConditionalAppendConflict)
    assert (error.expected, error.actual) == (expected, actual)


def test_a_cursor_ahead_of_the_log_knows_both_positions() -> None:
    numbers = {"asked_for": "9", "head_sequence_number": "5"}
    error = raised(Refusal(Code.OUT_OF_RANGE, "no", "CURSOR_AHEAD_OF_LOG", numbers))
    assert isinstance(error, factstr.CursorAheadOfLog)
    assert (error.asked_for, error.head_sequence_number) == (9, 5)


def test_an_active_durable_stream_names_its_holder() -> None:
    metadata = {"holder": "desk-2", "lease_epoch": "7"}
    error = raised(Refusal(Code.FAILED_PRECONDITION, "no", "DURABLE_STREAM_ACTIVE", metadata))
    assert isinstance(error, factstr.DurableStreamActive)
    assert (error.holder, error.lease_epoch) == ("desk-2", 7)


def test_numbers_that_a_server_leaves_out_or_cannot_write_are_none() -> None:
    error = raised(Refusal(Code.OUT_OF_RANGE, "no", "CURSOR_AHEAD_OF_LOG", {"asked_for": "all"}))
    assert isinstance(error, factstr.CursorAheadOfLog)
    assert (error.asked_for, error.head_sequence_number) == (None, None)


def test_an_invalid_request_says_which_fields() -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="events[0].payload", description="not JSON"),
        error_details_pb2.BadRequest.FieldViolation(field="events[2].event_type", description="empty"),
    ]
    detail = error_details_pb2.BadRequest(field_violations=violations)
    error = raised(Refusal(Code.INVALID_ARGUMENT, "no", "INVALID_PAYLOAD", details=[detail]), appending=True)
    assert error.field_violations == (
        factstr.FieldViolation("events[0].payload", "not JSON"),
        factstr.FieldViolation("events[2].event_type", "empty"),
    )


def test_a_busy_server_says_when_to_come_back() -> None:
    detail = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    error = raised(Refusal(Code.RESOURCE_EXHAUSTED, "no", "SERVER_BUSY", details=[detail]))
    assert error.retry_delay == 1.5
    assert raised(Refusal(Code.RESOURCE_EXHAUSTED, "no", "SERVER_BUSY")).retry_delay is None


def test_details_that_something_damaged_are_as_good_as_none() -> None:
    class Damaged(Failure):
        def trailing_metadata(self) -> Any:
            return (("grpc-status-details-bin", b"\xff\xff\xff"),)

    error = error_from(Damaged(Refusal(Code.UNAVAILABLE)), appending=True)
    assert (type(error), error.reason) == (factstr.OutcomeUnknown, None)


def test_every_exception_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(raised(conflict(3, 5), appending=True)))
    assert isinstance(error, factstr.ConditionalAppendConflict)
    assert (error.expected, error.actual, error.reason) == (3, 5, "CONDITIONAL_APPEND_CONFLICT")
