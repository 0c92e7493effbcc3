"""Durable streams are listed, looked at, moved, deleted and awaited."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import factstr
from factstr.durable_stream import DurableStreamInfo
from factstr.v1 import durable_stream_service_pb2, event_pb2
from tests.client.fake_server import Refusal, busy
from tests.client.fake_streams import LOST, Cursor, StreamingServer, ahead

QUERY = factstr.where("a")


@pytest.fixture
def named(fake: StreamingServer) -> StreamingServer:
    """Five facts and five names that have come to each of them."""
    for number, name in enumerate(["a", "b-1", "b-2", "b-3", "c"]):
        fake.commit(str(number))
        fake.streams[name] = Cursor(QUERY.to_proto(), number, epoch=7)
    return fake


def test_all_names_are_listed_through_all_pages(named: StreamingServer, store: factstr.EventStore) -> None:
    assert [info.durable_stream for info in store.durable_streams()] == ["a", "b-1", "b-2", "b-3", "c"]
    requests = named.seen(durable_stream_service_pb2.ListDurableStreamsRequest)
    assert len(requests) == 3


def test_names_can_be_listed_by_how_they_begin(named: StreamingServer, store: factstr.EventStore) -> None:
    assert [info.cursor for info in store.durable_streams("b-")] == [1, 2, 3]
    assert list(store.durable_streams("nobody")) == []


def test_a_page_that_was_not_answered_is_asked_for_again(
    named: StreamingServer, store: factstr.EventStore
) -> None:
    named.instead = [None, LOST, None]
    assert len(list(store.durable_streams())) == 5


def test_a_stream_says_how_it_stands(named: StreamingServer, store: factstr.EventStore) -> None:
    assert store.durable_stream("b-2") == factstr.DurableStreamInfo(
        durable_stream="b-2",
        query=QUERY,
        cursor=2,
        head_sequence_number=5,
        lag_events=3,
        lag=timedelta(seconds=1.5),
        active=False,
        holder="",
        waiting_consumers=0,
        lease_epoch=7,
        created_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        acknowledged_at=None,
    )


def test_every_field_of_the_wire_has_its_place() -> None:
    message = durable_stream_service_pb2.DurableStream(
        durable_stream="n", query=event_pb2.EventQuery(), acknowledged_at=Timestamp(seconds=1)
    )
    info = DurableStreamInfo.from_proto(message)
    assert [field.name for field in message.DESCRIPTOR.fields] == list(DurableStreamInfo.__slots__)
    assert (info.created_at, info.acknowledged_at) == (None, datetime.fromtimestamp(1, UTC))


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.durable_stream("nobody"),
        lambda store: store.reset_durable_stream("nobody"),
        lambda store: store.delete_durable_stream("nobody"),
        lambda store: store.await_durable_stream("nobody", 1),
    ],
    ids=["get", "reset", "delete", "await"],
)
def test_a_name_that_is_none_is_said_so(
    named: StreamingServer, store: factstr.EventStore, call: Callable[[factstr.EventStore], object]
) -> None:
    with pytest.raises(factstr.DurableStreamNotFound):
        call(store)


def test_a_stream_is_moved_back_to_the_beginning_or_anywhere(
    named: StreamingServer, store: factstr.EventStore
) -> None:
    assert store.reset_durable_stream("c").cursor == 0
    assert store.reset_durable_stream("c", 3).lag_events == 2
    named.instead = [ahead(6, 5)]
    with pytest.raises(factstr.CursorAheadOfLog):
        store.reset_durable_stream("c", 6)


def test_a_stream_in_use_is_moved_or_deleted_by_force_only(
    named: StreamingServer, store: factstr.EventStore
) -> None:
    for name in ("a", "c"):
        named.streams[name].active = True
    with pytest.raises(factstr.DurableStreamActive):
        store.reset_durable_stream("a")
    with pytest.raises(factstr.DurableStreamActive):
        store.delete_durable_stream("c")
    assert not store.reset_durable_stream("a", force=True).active
    store.delete_durable_stream("c", force=True)
    assert [info.durable_stream for info in store.durable_streams()] == ["a", "b-1", "b-2", "b-3"]


@pytest.mark.parametrize(
    "change",
    [lambda store: store.reset_durable_stream("c"), lambda store: store.delete_durable_stream("c")],
    ids=["reset", "deletion"],
)
def test_a_change_is_repeated_only_when_it_was_certainly_not_made(
    named: StreamingServer, store: factstr.EventStore, change: Callable[[factstr.EventStore], object]
) -> None:
    named.instead = [LOST]
    with pytest.raises(factstr.OutcomeUnknown):
        change(store)
    assert len(named.requests) == 1
    named.instead = [busy(), Refusal(grpc.StatusCode.UNAVAILABLE, "draining", "SERVER_DRAINING"), None]
    change(store)
    assert len(named.requests) == 4


def test_a_wait_tells_whether_the_stream_has_come_so_far(
    named: StreamingServer, store: factstr.EventStore
) -> None:
    assert store.await_durable_stream("b-2", 2) == factstr.AwaitResult(2, reached=True)
    assert store.await_durable_stream("b-2", 3, timeout=0) == factstr.AwaitResult(2, reached=False)


def test_a_wait_is_bounded_by_the_server_before_it_is_by_the_call(
    named: StreamingServer, store: factstr.EventStore
) -> None:
    named.instead = [LOST, None]
    store.await_durable_stream("a", 0, timeout=60)
    first, second = named.seen(durable_stream_service_pb2.AwaitDurableStreamRequest)
    asked = [request.timeout.ToNanoseconds() / 1e9 for request in (first, second)]
    assert 60 >= asked[0] > asked[1] > 0, "a repetition waits for what is left"
    assert named.allowed[0] > asked[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.durable_streams(5), r"name_prefix is 5 \(a int\)"),
        (lambda store: store.durable_stream(5), r"name is 5 \(a int\)"),
        (
            lambda store: store.reset_durable_stream("a", None),
            r"cursor is None \(a NoneType\); it must be an int",
        ),
        (lambda store: store.delete_durable_stream(None), r"name is None \(a NoneType\)"),
        (lambda store: store.await_durable_stream("a", -1), "sequence_number is -1"),
        (
            lambda store: store.await_durable_stream("a", 1, timeout=None),
            "timeout is None .* a number of seconds",
        ),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_by_name(
    named: StreamingServer,
    store: factstr.EventStore,
    call: Callable[[factstr.EventStore], object],
    message: str,
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(store)
    assert not named.requests
