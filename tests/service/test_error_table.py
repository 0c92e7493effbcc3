"""The table of errors: each reason with its status and details, nothing committed, and a server that goes on."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from factstr.v1 import durable_stream_service_pb2 as admin_pb
from factstr.v1 import errors_pb2, event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import (
    Reason,
    Refusal,
    outcome_unknown,
    store_corrupt,
    store_full,
    store_unavailable,
)
from tests.conformance.driver import NewFact
from tests.conformance.wire import Wire, failure_of
from tests.service import raw
from tests.service.conftest import serving
from tests.service.wrapping_store import FailingStore

GOOD = event_pb2.NewEvent(event_type="good", payload="{}")
NEW_KEY_REQUEST = pb.AppendRequest(events=[GOOD], idempotency_key="taken")
PREDICATES = event_pb2.PayloadPredicates


class Row(NamedTuple):
    reason: str
    code: str
    method: str
    request: Message | bytes
    fields: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None


def event(**fields: str) -> event_pb2.NewEvent:
    made = event_pb2.NewEvent()
    made.CopyFrom(GOOD)
    made.MergeFrom(
        event_pb2.NewEvent(event_type=fields.get("event_type", ""), payload=fields.get("payload", ""))
    )
    return made


def query(*predicates: str) -> event_pb2.EventQuery:
    return event_pb2.EventQuery(
        filters=[event_pb2.EventFilter(payload_predicates=PREDICATES(any_of=predicates))]
    )


UNTYPED = event_pb2.NewEvent(payload="{}")
BAD_METADATA = event_pb2.NewEvent(event_type="a", payload="{}", metadata={"": "v"})

ROWS = [
    Row("EMPTY_APPEND", "INVALID_ARGUMENT", raw.APPEND, pb.AppendRequest(), ("events",)),
    Row("EMPTY_APPEND", "INVALID_ARGUMENT", raw.APPEND_IF, pb.AppendIfRequest(), ("events",)),
    Row(
        "INVALID_EVENT_TYPE",
        "INVALID_ARGUMENT",
        raw.APPEND,
        pb.AppendRequest(events=[GOOD, event(event_type="\n")]),
        ("events[1].event_type",),
    ),
    Row(
        "INVALID_EVENT_TYPE",
        "INVALID_ARGUMENT",
        raw.QUERY,
        pb.QueryRequest(
            query=event_pb2.EventQuery(
                filters=[event_pb2.EventFilter(event_types=event_pb2.EventTypes(any_of=["a", ""]))]
            )
        ),
        ("query.filters[0].event_types.any_of[1]",),
    ),
    Row(
        "INVALID_PAYLOAD",
        "INVALID_ARGUMENT",
        raw.APPEND,
        pb.AppendRequest(events=[GOOD, GOOD, GOOD, event(payload="{")]),
        ("events[3].payload",),
    ),
    Row(
        "INVALID_PREDICATE",
        "INVALID_ARGUMENT",
        raw.QUERY,
        pb.QueryRequest(query=query("{}", "{")),
        ("query.filters[0].payload_predicates.any_of[1]",),
    ),
    Row(
        "INVALID_PREDICATE",
        "INVALID_ARGUMENT",
        raw.APPEND_IF,
        pb.AppendIfRequest(events=[GOOD], context_query=query("{}", "{")),
        ("context_query.filters[0].payload_predicates.any_of[1]",),
    ),
    Row(
        "INVALID_METADATA",
        "INVALID_ARGUMENT",
        raw.APPEND,
        pb.AppendRequest(events=[BAD_METADATA]),
        ('events[0].metadata[""]',),
    ),
    Row(
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        raw.APPEND,
        pb.AppendRequest(events=[GOOD], idempotency_key="k" * 201),
        ("idempotency_key",),
    ),
    Row("INVALID_ARGUMENT", "INVALID_ARGUMENT", raw.APPEND, b"\xff\xff\xff", ("request",)),
    Row("INVALID_ARGUMENT", "INVALID_ARGUMENT", raw.SEQUENCE_NUMBER_AT, b"", ("occurred_at",)),
    Row(
        "BATCH_TOO_LARGE",
        "INVALID_ARGUMENT",
        raw.APPEND,
        pb.AppendRequest(events=[GOOD] * 10_001),
        metadata={"limit_name": "max_events_per_append", "limit": "10000", "actual": "10001"},
    ),
    Row(
        "UNSUPPORTED_FIELD",
        "UNIMPLEMENTED",
        raw.APPEND,
        pb.AppendRequest(events=[GOOD]).SerializeToString() + b"\x98\x06\x01",
        metadata={"path": "99", "number": "99"},
    ),
    Row(
        "CONDITIONAL_APPEND_CONFLICT",
        "ABORTED",
        raw.APPEND_IF,
        pb.AppendIfRequest(events=[GOOD], expected_context_version=7),
        metadata={"expected_context_version": "7", "actual_context_version": "1"},
    ),
    Row("IDEMPOTENCY_KEY_REUSED", "ALREADY_EXISTS", raw.APPEND, NEW_KEY_REQUEST),
    Row(
        "INVALID_PREDICATE",
        "INVALID_ARGUMENT",
        raw.STREAM_TO,
        pb.StreamToRequest(query=query("{")),
        ("query.filters[0].payload_predicates.any_of[0]",),
    ),
    Row(
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        raw.STREAM_TO_DURABLE,
        pb.StreamToDurableRequest(durable_stream="\n"),
        ("durable_stream",),
    ),
    Row(
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        raw.ACKNOWLEDGE,
        pb.AcknowledgeDurableRequest(durable_stream="s", acknowledgement_token="none"),
        ("acknowledgement_token",),
    ),
    Row(
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        raw.LIST,
        admin_pb.ListDurableStreamsRequest(page_size=1_001),
        ("page_size",),
    ),
    Row(
        "CURSOR_AHEAD_OF_LOG",
        "OUT_OF_RANGE",
        raw.STREAM_ALL,
        pb.StreamAllRequest(after_sequence_number=2),
        metadata={"asked_for": "2", "head_sequence_number": "1"},
    ),
    Row(
        "CURSOR_AHEAD_OF_LOG",
        "OUT_OF_RANGE",
        raw.STREAM_ALL_DURABLE,
        pb.StreamAllDurableRequest(durable_stream="new", start_after_sequence_number=2),
        metadata={"asked_for": "2", "head_sequence_number": "1"},
    ),
    *(
        Row("DURABLE_STREAM_NOT_FOUND", "NOT_FOUND", method, request)
        for method, request in (
            (raw.GET, admin_pb.GetDurableStreamRequest(durable_stream="none")),
            (raw.RESET, admin_pb.ResetDurableStreamRequest(durable_stream="none")),
            (raw.DELETE, admin_pb.DeleteDurableStreamRequest(durable_stream="none")),
            (raw.AWAIT, admin_pb.AwaitDurableStreamRequest(durable_stream="none")),
        )
    ),
]

ACTIVE_ROWS = [
    Row(
        "DURABLE_STREAM_QUERY_MISMATCH",
        "FAILED_PRECONDITION",
        raw.STREAM_TO_DURABLE,
        pb.StreamToDurableRequest(durable_stream="active", query=query("{}")),
    ),
    Row(
        "DURABLE_STREAM_ACTIVE",
        "FAILED_PRECONDITION",
        raw.STREAM_ALL_DURABLE,
        pb.StreamAllDurableRequest(durable_stream="active"),
    ),
    Row(
        "DURABLE_STREAM_ACTIVE",
        "FAILED_PRECONDITION",
        raw.RESET,
        admin_pb.ResetDurableStreamRequest(durable_stream="active"),
    ),
    Row(
        "DURABLE_STREAM_ACTIVE",
        "FAILED_PRECONDITION",
        raw.DELETE,
        admin_pb.DeleteDurableStreamRequest(durable_stream="active"),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row.reason}" for number, row in enumerate(ROWS)])
async def test_what_is_wrong_with_a_request_is_answered_with_its_status_and_details(
    server: Wire, row: Row
) -> None:
    await server.append([NewFact("first")], key="taken")
    error = await raw.error(server, row.method, row.request)
    failed = failure_of(error)
    assert (failed.reason, failed.code) == (row.reason, row.code)
    assert failed.fields == list(row.fields)
    assert failed.metadata == (row.metadata or {})
    extra = [raw.BAD_REQUEST] if row.fields else []
    if row.reason == "CONDITIONAL_APPEND_CONFLICT":
        extra = [raw.CONFLICT]
        assert (failed.expected, failed.actual) == (7, 1)
    assert raw.names_of_details(error) == [raw.ERROR_INFO, *extra]
    if row.fields:
        assert failed.message.startswith(f"{row.fields[0]}: ")
        assert all(violation.description for violation in failed.violations)
    assert await server.head() == 1
    assert (await server.append([NewFact("next")])).first == 2


@pytest.mark.parametrize("row", ACTIVE_ROWS, ids=[f"{n}-{row.reason}" for n, row in enumerate(ACTIVE_ROWS)])
async def test_what_an_active_durable_stream_does_not_allow_is_answered_with_its_status(
    server: Wire, row: Row
) -> None:
    async with server.stream_all_durable("active") as active:
        epoch = (await active.started()).lease_epoch
        error = await raw.error(server, row.method, row.request)
        failed = failure_of(error)
        assert (failed.reason, failed.code) == (row.reason, row.code)
        assert raw.names_of_details(error) == [raw.ERROR_INFO]
        if row.reason == "DURABLE_STREAM_ACTIVE":
            assert failed.metadata["lease_epoch"] == str(epoch)


async def test_a_lost_lease_is_answered_with_its_status(server: Wire) -> None:
    await server.append([NewFact()])
    async with server.stream_all_durable("s") as stream:
        [batch] = await stream.batches(1)
        await server.reset("s", 0, force=True)
        ended = await stream.ended()
    token = batch.token
    request = pb.AcknowledgeDurableRequest(durable_stream="s", acknowledgement_token=token)
    error = await raw.error(server, raw.ACKNOWLEDGE, request)
    assert raw.names_of_details(error) == [raw.ERROR_INFO]
    for failed in (ended, failure_of(error)):
        assert (failed.reason, failed.code) == ("DURABLE_STREAM_LEASE_LOST", "ABORTED")
        assert failed.metadata == {"lease_epoch": "1"}


FAILURES: list[tuple[Callable[[], Exception], str, str, bool]] = [
    (store_full, "STORE_FULL", "RESOURCE_EXHAUSTED", False),
    (lambda: store_unavailable("it sleeps"), "STORE_UNAVAILABLE", "UNAVAILABLE", True),
    (outcome_unknown, "APPEND_OUTCOME_UNKNOWN", "UNKNOWN", False),
    (lambda: store_corrupt("two heads"), "STORE_CORRUPT", "DATA_LOSS", False),
    (lambda: ZeroDivisionError("secret"), "INTERNAL", "INTERNAL", False),
]


@pytest.mark.parametrize(("make", "reason", "code", "retried"), FAILURES, ids=[row[1] for row in FAILURES])
async def test_a_store_that_fails_to_commit_is_answered_and_the_server_goes_on(
    make: Callable[[], Exception], reason: str, code: str, retried: bool
) -> None:
    async with serving(FailingStore) as (server, store):
        await server.append([NewFact()])
        for method, request in (
            (raw.APPEND, pb.AppendRequest(events=[GOOD])),
            (raw.APPEND_IF, pb.AppendIfRequest(events=[GOOD], expected_context_version=1)),
        ):
            store.failure = make()
            error = await raw.error(server, method, request)
            failed = failure_of(error)
            assert (failed.reason, failed.code) == (reason, code)
            delay = raw.retry_delay(error)
            assert (delay is not None and delay.ToTimedelta() > timedelta()) == retried
            store.failure = None
        assert (await server.append([NewFact()])).first == 2


@pytest.mark.parametrize(("make", "reason", "code", "retried"), FAILURES, ids=[row[1] for row in FAILURES])
async def test_a_store_that_fails_to_read_is_answered_and_the_server_goes_on(
    make: Callable[[], Exception], reason: str, code: str, retried: bool
) -> None:
    async with serving(FailingStore) as (server, store):
        await server.append([NewFact()])
        calls: list[Callable[[], Awaitable[grpc.aio.AioRpcError]]] = [
            lambda: raw.error(server, raw.QUERY, pb.QueryRequest()),
            lambda: raw.error(server, raw.INFO, b""),
        ]
        for call in calls:
            store.failing_reads = make()
            failed = failure_of(await call())
            assert (failed.reason, failed.code) == (reason, code)
            store.failing_reads = None
        assert (await server.query()).numbers == [1]


STATUS_OF_REASON = {
    "INVALID_ARGUMENT": "EMPTY_APPEND INVALID_EVENT_TYPE INVALID_PAYLOAD INVALID_PREDICATE INVALID_METADATA "
    "INVALID_ARGUMENT BATCH_TOO_LARGE",
    "UNIMPLEMENTED": "UNSUPPORTED_FIELD NOT_IMPLEMENTED",
    "ABORTED": "CONDITIONAL_APPEND_CONFLICT DURABLE_STREAM_LEASE_LOST",
    "ALREADY_EXISTS": "IDEMPOTENCY_KEY_REUSED",
    "FAILED_PRECONDITION": "DURABLE_STREAM_ACTIVE DURABLE_STREAM_QUERY_MISMATCH",
    "NOT_FOUND": "DURABLE_STREAM_NOT_FOUND",
    "OUT_OF_RANGE": "CURSOR_AHEAD_OF_LOG",
    "DATA_LOSS": "LOG_DIVERGED STORE_CORRUPT",
    "RESOURCE_EXHAUSTED": "SERVER_BUSY QUOTA_EXCEEDED STORE_FULL",
    "UNAVAILABLE": "STORE_UNAVAILABLE SERVER_DRAINING",
    "UNKNOWN": "APPEND_OUTCOME_UNKNOWN",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "INTERNAL": "INTERNAL",
}


async def test_every_reason_has_the_status_of_the_table() -> None:
    expected = {reason: code for code, reasons in STATUS_OF_REASON.items() for reason in reasons.split()}
    named = [name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()]  # noqa: SIM118
    assert set(expected) == set(named) - {"UNSPECIFIED"}
    async with serving(FailingStore) as (server, store):
        for reason in Reason:
            metadata = {"number": "1"}
            store.failing_reads = Refusal(reason, "as asked", metadata=metadata)
            failed = await raw.failure(server, raw.INFO, b"")
            assert (failed.reason, failed.code, failed.metadata) == (reason, expected[reason], metadata)


async def test_reasons_keep_the_order_of_the_wire_contract() -> None:
    assert [f"ERROR_REASON_{reason}" for reason in Reason] == errors_pb2.ErrorReason.keys()[1:]


async def test_what_went_wrong_inside_stays_inside_and_an_id_leads_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(FailingStore) as (server, store):
        store.failing_reads = RuntimeError("SELECT secret FROM /var/lib/secret.db")
        error = await raw.error(server, raw.QUERY, pb.QueryRequest())
        failed = failure_of(error)
        everything = str(raw.details(error)) + str(error.details()) + str(error.trailing_metadata())
        assert "secret" not in everything
        assert "Traceback" not in everything
        assert failed.metadata["error_id"] in failed.message
        assert failed.metadata["error_id"] in caplog.text
        assert "secret" in caplog.text


async def test_error_info_comes_first_so_that_simple_clients_find_it(server: Wire) -> None:
    error = await raw.error(server, raw.APPEND, pb.AppendRequest())
    info = error_details_pb2.ErrorInfo()
    assert raw.details(error).details[0].Unpack(info)
    assert (info.domain, info.reason) == ("factstr", "EMPTY_APPEND")
