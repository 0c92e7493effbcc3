"""A server refuses what it does not know, anywhere in a request: it must not drop a condition in silence."""

from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from factstr.v1 import durable_stream_service_pb2 as admin_pb
from factstr.v1 import event_pb2, server_service_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.wire import Wire
from tests.service import raw
from tests.waiting import until

FIELD_99 = {
    "varint": b"\x98\x06\x01",
    "fixed64": b"\x99\x06" + bytes(8),
    "length-delimited": b"\x9a\x06\x03abc",
    "group": b"\x9b\x06\x9c\x06",
    "fixed32": b"\x9d\x06" + bytes(4),
}

FILTER = event_pb2.EventFilter(
    event_types=event_pb2.EventTypes(any_of=["a"]),
    payload_predicates=event_pb2.PayloadPredicates(any_of=["{}"]),
)
QUERY = event_pb2.EventQuery(filters=[FILTER, FILTER], min_sequence_number=0)
EVENTS = [event_pb2.NewEvent(event_type="a", payload="{}", metadata={"k": "v"})] * 2
REQUESTS: dict[str, Message] = {
    raw.APPEND: pb.AppendRequest(events=EVENTS, idempotency_key="k"),
    raw.APPEND_IF: pb.AppendIfRequest(events=EVENTS, context_query=QUERY, idempotency_key="k"),
    raw.QUERY: pb.QueryRequest(query=QUERY, limit=1),
    raw.STREAM_ALL: pb.StreamAllRequest(),
    raw.STREAM_TO: pb.StreamToRequest(query=QUERY),
    raw.STREAM_ALL_DURABLE: pb.StreamAllDurableRequest(durable_stream="s"),
    raw.STREAM_TO_DURABLE: pb.StreamToDurableRequest(durable_stream="s", query=QUERY),
    raw.ACKNOWLEDGE: pb.AcknowledgeDurableRequest(durable_stream="s"),
    raw.LIST: admin_pb.ListDurableStreamsRequest(),
    raw.GET: admin_pb.GetDurableStreamRequest(durable_stream="s"),
    raw.RESET: admin_pb.ResetDurableStreamRequest(durable_stream="s"),
    raw.DELETE: admin_pb.DeleteDurableStreamRequest(durable_stream="s"),
    raw.AWAIT: admin_pb.AwaitDurableStreamRequest(durable_stream="s", timeout=Duration(seconds=1)),
    raw.INFO: server_service_pb2.GetServerInfoRequest(),
    raw.SEQUENCE_NUMBER_AT: server_service_pb2.GetSequenceNumberAtRequest(occurred_at=Timestamp(seconds=1)),
}


def messages_in(message: Message, path: str = "") -> Iterator[tuple[str, Message]]:
    """The message and all messages inside it, but for map entries, which never get more than key and value."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for name, inner in (
            ((f"{field.name}[{index}]", element) for index, element in enumerate(value))
            if field.is_repeated
            else [(field.name, value)]
        ):
            yield from messages_in(inner, f"{path}{name}.")


PLACES = [(method, path) for method, request in REQUESTS.items() for path, _ in messages_in(request)]


@pytest.mark.parametrize(("method", "path"), PLACES, ids=[f"{method} {path}" for method, path in PLACES])
async def test_an_unknown_field_is_refused_wherever_it_stands(server: Wire, method: str, path: str) -> None:
    for encoded in FIELD_99.values():
        request = type(REQUESTS[method])()
        request.CopyFrom(REQUESTS[method])
        dict(messages_in(request))[path].MergeFromString(encoded)
        failed = await raw.failure(server, method, request)
        assert (failed.reason, failed.code) == ("UNSUPPORTED_FIELD", "UNIMPLEMENTED")
        assert failed.metadata == {"path": f"{path}99", "number": "99"}
        assert failed.message.startswith(f"{path}99: ")
    assert await server.head() == 0


ON_A_STREAM = {raw.ACKNOWLEDGE, raw.GET, raw.RESET, raw.DELETE, raw.AWAIT}
"""They want one that is there."""


@pytest.mark.parametrize("method", sorted(REQUESTS.keys() - ON_A_STREAM))
async def test_the_same_request_without_unknown_fields_is_answered(server: Wire, method: str) -> None:
    assert await raw.call(server, method, REQUESTS[method])


async def test_an_unknown_enum_value_is_refused(server: Wire) -> None:
    for value in (3, 99, 2**31 - 1, -1):
        request = pb.QueryRequest()
        request.order = value  # type: ignore[assignment]
        failed = await raw.failure(server, raw.QUERY, request)
        assert (failed.reason, failed.code) == ("UNSUPPORTED_FIELD", "UNIMPLEMENTED")
        assert failed.metadata == {"path": "order", "number": str(value)}


async def test_an_unknown_field_is_not_hidden_by_an_entry_that_leaves_out_its_empty_value(
    server: Wire,
) -> None:
    """Encoders may omit an empty value of a map entry. Written again it is two bytes longer: exactly as long as the
    unknown field that the request gained.
    """
    event = event_pb2.NewEvent(event_type="a", payload="{}").SerializeToString() + b"\x1a\x03\x0a\x01k"
    request = b"\x0a" + bytes([len(event)]) + event
    assert await raw.call(server, raw.APPEND, request)
    for unknown in (b"\x78\x01", b"\x7a\x00", b"\x48\x01"):
        failed = await raw.failure(server, raw.APPEND, request + unknown)
        assert failed.reason == "UNSUPPORTED_FIELD"
    assert await server.head() == 1


async def test_a_large_request_with_an_unknown_field_is_refused_too(server: Wire) -> None:
    event = event_pb2.NewEvent(event_type="a", payload='"' + "x" * 100_000 + '"')
    request = pb.AppendRequest(events=[event]).SerializeToString() + FIELD_99["varint"]
    assert (await raw.failure(server, raw.APPEND, request)).metadata == {"path": "99", "number": "99"}


async def test_fields_in_another_order_or_written_twice_are_no_unknown_fields(server: Wire) -> None:
    event = b'\x12\x04"no"\x12\x02{}\x0a\x01a'
    request = b"\x12\x01j\x12\x01k\x0a" + bytes([len(event)]) + event
    assert await raw.call(server, raw.APPEND, request)
    assert (await server.query()).payloads == ["{}"]


@pytest.mark.parametrize("method", REQUESTS)
async def test_an_unknown_factstr_header_is_refused(server: Wire, method: str) -> None:
    for header in ("factstr-condition", "factstr-", "factstr-token-bin"):
        value = b"x" if header.endswith("-bin") else "x"
        failed = await raw.failure(server, method, REQUESTS[method], ((header, value),))
        assert (failed.reason, failed.code) == ("UNSUPPORTED_FIELD", "UNIMPLEMENTED")
        assert header in failed.metadata["path"]
        assert failed.metadata["number"] == "0"
    # A call that would count for ever would hold up every drain.
    await until(lambda: not server.server._edge._under_way, "no call is under way")
    assert await server.head() == 0


async def test_other_headers_are_nobodys_business(server: Wire) -> None:
    metadata = (
        ("traceparent", "00-1-2-3"),
        ("x-factstr-more", "x"),
        ("factstr", "x"),
        ("authorization", "Bearer x"),
    )
    assert await raw.call(server, raw.APPEND, REQUESTS[raw.APPEND], metadata)
