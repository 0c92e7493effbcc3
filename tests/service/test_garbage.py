"""Bytes that are no request: refused as INVALID_ARGUMENT, and the server goes on."""

import random

import grpc
import pytest

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import NewFact
from tests.conformance.wire import Wire
from tests.service import raw

REQUEST = pb.AppendIfRequest(
    events=[event_pb2.NewEvent(event_type="AAAA", payload='"BBBB"', metadata={"CCCC": "DDDD"})],
    context_query=event_pb2.EventQuery(
        filters=[
            event_pb2.EventFilter(
                event_types=event_pb2.EventTypes(any_of=["EEEE"]),
                payload_predicates=event_pb2.PayloadPredicates(any_of=['"FFFF"']),
            )
        ]
    ),
    idempotency_key="GGGG",
)


@pytest.mark.parametrize("marker", ["AAAA", "BBBB", "CCCC", "DDDD", "EEEE", "FFFF", "GGGG"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\xff\xfe\xfd\xfc", id="no UTF-8"),
        pytest.param(b"x\xed\xa0\x80", id="surrogate"),
        pytest.param(b"xx\xc0\x80", id="overlong"),
        pytest.param(b"xxx\xe2", id="cut off"),
    ],
)
async def test_text_that_is_no_utf_8_is_refused(server: Wire, marker: str, bad: bytes) -> None:
    request = REQUEST.SerializeToString().replace(marker.encode(), bad)
    failed = await raw.failure(server, raw.APPEND_IF, request)
    assert (failed.reason, failed.code, failed.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        ["request"],
    )
    assert await server.head() == 0


@pytest.mark.parametrize(
    "method",
    [
        *(raw.APPEND, raw.APPEND_IF, raw.QUERY, raw.INFO, raw.SEQUENCE_NUMBER_AT, *raw.ENDLESS),
        *(raw.ACKNOWLEDGE, raw.LIST, raw.GET, raw.RESET, raw.DELETE, raw.AWAIT),
    ],
)
async def test_bytes_that_are_no_message_are_refused(server: Wire, method: str) -> None:
    for garbage in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x00", b"{}", b"\x0b" * 1_000, b"\x07\x08"):
        failed = await raw.failure(server, method, garbage)
        assert failed.reason in {"INVALID_ARGUMENT", "UNSUPPORTED_FIELD"}, garbage
    await server.append([NewFact()])
    assert await server.head() == 1


async def test_whatever_bytes_come_the_answer_is_one_of_ours(server: Wire) -> None:
    """Requests with a few bytes changed, cut, or doubled."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = REQUEST.SerializeToString()
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        cut = bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])])
        if error := await refusal(server, cut):
            assert raw.details(error).details
            assert error.code() not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
    head = await server.head()
    assert (await server.append([NewFact()])).first == head + 1


async def refusal(server: Wire, request: bytes) -> grpc.aio.AioRpcError | None:
    try:
        await raw.call(server, raw.APPEND_IF, request)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_an_append_between_our_limit_and_the_transports_gets_our_error(server: Wire) -> None:
    payload = '"' + "x" * (1024 * 1024) + '"'
    request = pb.AppendRequest(events=[event_pb2.NewEvent(event_type="a", payload=payload)] * 15)
    assert request.ByteSize() > 15 * 1024 * 1024
    failed = await raw.failure(server, raw.APPEND, request)
    assert (failed.reason, failed.code) == ("BATCH_TOO_LARGE", "INVALID_ARGUMENT")
    assert failed.metadata["actual"] == str(sum(event.ByteSize() for event in request.events))
