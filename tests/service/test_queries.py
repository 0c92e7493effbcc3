"""Queries as streams of messages: what is unset, clients that read slowly or leave, and failures half-way."""

import asyncio

import grpc
import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.protocol import Page, Store, Window
from tests.conformance.driver import NewFact
from tests.conformance.wire import Wire, failure_of
from tests.service import raw
from tests.service.conftest import serving
from tests.service.wrapping_store import WrappingStore

LARGE = NewFact("large", '"' + "x" * 300_000 + '"')


async def answers(server: Wire, request: pb.QueryRequest) -> list[pb.QueryResponse]:
    return [pb.QueryResponse.FromString(message) for message in await raw.call(server, raw.QUERY, request)]


async def test_an_unset_query_is_all_facts_as_an_empty_one_is(server: Wire) -> None:
    await server.append_types("a", "b")
    [unset] = await answers(server, pb.QueryRequest())
    [empty] = await answers(server, pb.QueryRequest(query={}))  # type: ignore[arg-type]
    assert unset == empty
    assert [record.sequence_number for record in unset.event_records] == [1, 2]


async def test_an_unset_context_is_the_whole_log(server: Wire) -> None:
    await server.append_types("a")
    event = {"event_type": "b", "payload": "{}"}
    failed = await raw.failure(server, raw.APPEND_IF, pb.AppendIfRequest(events=[event]))  # type: ignore[list-item]
    assert (failed.reason, failed.actual) == ("CONDITIONAL_APPEND_CONFLICT", 1)


async def test_ascending_is_the_order_when_none_is_given(server: Wire) -> None:
    await server.append_types("a", "b")
    [given] = await answers(server, pb.QueryRequest(order=pb.ORDER_ASCENDING))
    assert [given] == await answers(server, pb.QueryRequest(order=pb.ORDER_UNSPECIFIED))
    assert [record.sequence_number for record in given.event_records] == [1, 2]


async def test_every_message_carries_the_version_and_the_last_fact_so_far(server: Wire) -> None:
    await server.append([LARGE] * 4)
    for order, numbers in ((pb.ORDER_ASCENDING, [1, 2, 3, 4]), (pb.ORDER_DESCENDING, [4, 3, 2, 1])):
        messages = await answers(server, pb.QueryRequest(order=order))
        assert [message.current_context_version for message in messages] == [4] * 4
        assert [message.last_returned_sequence_number for message in messages] == numbers


async def test_an_empty_context_has_neither_version_nor_last_fact(server: Wire) -> None:
    [message] = await answers(server, pb.QueryRequest())
    assert message == pb.QueryResponse()


async def test_a_client_that_does_not_read_holds_nobody_up(served_store: Wire) -> None:
    for _ in range(4):
        await served_store.append([LARGE] * 10)
    stuck = [raw.streaming(served_store.channel, raw.QUERY)(b"") for _ in range(10)]
    for call in stuck:
        assert await call.read() != grpc.aio.EOF
    assert (await served_store.append([NewFact()])).first == 41
    assert len((await served_store.query()).facts) == 41
    for call in stuck:
        call.cancel()


async def test_a_client_that_leaves_half_way_leaves_the_server_alone(served_store: Wire) -> None:
    await served_store.append([LARGE] * 10)
    for _ in range(20):
        call = raw.streaming(served_store.channel, raw.QUERY)(b"")
        await call.read()
        call.cancel()
        assert await call.code() == grpc.StatusCode.CANCELLED
    assert len((await served_store.query()).facts) == 10
    await served_store.restart()


async def test_a_reader_whose_deadline_passes_is_no_defect_of_the_server(
    served_store: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        await served_store.append([LARGE] * 10)
    expired = [raw.streaming(served_store.channel, raw.QUERY)(b"", timeout=0.2) for _ in range(5)]
    for call in expired:
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await served_store.restart()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


class HeldHalfWay(WrappingStore):
    """The first page is read, the second one when the gate is open."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.gate = asyncio.Event()

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        await self.gate.wait()
        return await super().read_facts(query, window)


async def test_what_was_found_is_sent_before_the_search_goes_on() -> None:
    async with serving(HeldHalfWay) as (server, store):
        await server.append([LARGE] * 2)
        call = raw.streaming(server.channel, raw.QUERY)(b"")
        assert await call.read()
        store.gate.set()
        assert await call.read()
        assert await call.read() is grpc.aio.EOF


class FailingHalfWay(WrappingStore):
    """The first page is read, the second one is not."""

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        raise ZeroDivisionError


async def test_a_query_that_fails_half_way_ends_with_an_error_and_not_as_if_it_were_whole() -> None:
    async with serving(FailingHalfWay) as (server, _):
        await server.append([LARGE] * 3)
        call = raw.streaming(server.channel, raw.QUERY)(b"")
        assert await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert failure_of(caught.value).reason == "INTERNAL"
