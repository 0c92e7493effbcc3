"""AppendStream: what streams may take of the server's memory and time, whatever their clients send or leave unread."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Refusal
from factstr_server.log import append_pipeline
from factstr_server.log.append_pipeline import AppendPipeline, Item
from factstr_server.rpc import append_stream, edge, message_parts, preparing, unknown_fields
from factstr_server.rpc.edge import Answering, Edge
from tests.conformance.driver import Filter, NewFact, Query
from tests.conformance.wire import Wire
from tests.service.conftest import serving
from tests.service.pipe import Pipe, append, append_if, kinds, piped, stalled, until_waiting, waiting
from tests.service.wrapping_store import StallingStore
from tests.waiting import until

SMALL = NewFact("small")
INVALID = NewFact("invalid", "{")
LARGE = NewFact("large", '"' + "x" * 100_000 + '"')
EMPTY = pb.AppendStreamItem(append=pb.AppendRequest())
LONG_QUERY = Query((Filter(predicates=('"' + "x" * 10_000 + '"',)),))


@pytest.mark.parametrize("items_in_a_message", [1, 200])
async def test_nothing_more_is_taken_while_too_much_waits(
    items_in_a_message: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_WAITING_APPENDS", 10)
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        sending = asyncio.create_task(send_all(pipe, 200, items_in_a_message))
        await until_waiting(server, 10)
        await server.info()
        assert waiting(server) == 10
        store.gate.set()
        assert await pipe.firsts(201) == list(range(1, 202))
        await sending


async def send_all(pipe: Pipe, number: int, items_in_a_message: int) -> None:
    for _ in range(number // items_in_a_message):
        await pipe.send(*[append(SMALL)] * items_in_a_message)


@pytest.mark.parametrize(
    "item",
    [
        append_if(LONG_QUERY, None, SMALL),
        append(*[SMALL] * 150),
        append(NewFact("long", f'"{"x" * 40_000}"')),
    ],
    ids=["a condition with its query", "each of many events", "events with their bytes"],
)
async def test_what_waits_counts_as_what_it_takes(
    item: pb.AppendStreamItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_WAITING_COST", 50_000)
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        await pipe.send(*[item] * 20)
        await until_waiting(server, 2)
        await server.info()
        assert waiting(server) == 2
        store.gate.set()
        assert set(kinds(await pipe.outcomes(21))) == {"committed"}


async def test_a_run_takes_no_more_queries_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_RUN_COST", 100_000)
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        await pipe.send(*[append_if(LONG_QUERY, None, SMALL)] * 5)
        await until_waiting(server, 5)
        store.gate.set()
        await pipe.outcomes(6)
        assert store.groups == [1, 2, 2, 1]


async def test_a_refusal_that_waits_holds_no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[Item] = []
    put = AppendPipeline.put

    def recorded(pipeline: AppendPipeline, correlation_id: int, item: Item, size: int) -> None:
        refusals.append(item)
        put(pipeline, correlation_id, item, size)

    monkeypatch.setattr(AppendPipeline, "put", recorded)
    async with serving(StallingStore) as (server, _), piped(server) as pipe:
        await pipe.send(EMPTY, append(INVALID), pb.AppendStreamItem(), append(*[LARGE] * 40))
        await pipe.outcomes(4)
    held = [item.__traceback__ or item.__context__ for item in refusals if isinstance(item, Refusal)]
    assert held == [None] * 4


@pytest.mark.parametrize("item", [EMPTY, append(SMALL)], ids=["refused", "committed"])
async def test_the_loop_goes_on_with_others_within_a_message_of_tiny_items(
    item: pb.AppendStreamItem, server: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts_by_turn: list[int] = [0]
    put = AppendPipeline.put

    def counted(pipeline: AppendPipeline, correlation_id: int, item: Item, size: int) -> None:
        puts_by_turn[-1] += 1
        put(pipeline, correlation_id, item, size)

    async def turns() -> None:
        while True:
            puts_by_turn.append(0)
            await asyncio.sleep(0)

    monkeypatch.setattr(AppendPipeline, "put", counted)
    turning = asyncio.create_task(turns())
    async with piped(server) as pipe:
        await pipe.send(*[item] * 2_000)
        await pipe.outcomes(2_000)
    turning.cancel()
    assert sum(puts_by_turn) == 2_000
    assert max(puts_by_turn) <= 2 * 128  # the end of one part and the beginning of the next


async def test_failures_are_said_a_few_at_a_time(server: Wire) -> None:
    async with piped(server) as pipe:
        await pipe.send(*[EMPTY] * 1_000)
        await pipe.outcomes(1_000)
        assert pipe.messages >= 1_000 / 64


async def test_no_more_than_a_part_of_a_message_is_parsed_at_once(
    server: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    parse = unknown_fields.parse_message

    def recorded(kind: type[pb.AppendStreamRequest], raw: bytes) -> pb.AppendStreamRequest:
        request = parse(kind, raw)
        parsed.append(len(request.items))
        return request

    monkeypatch.setattr(message_parts, "parse_message", recorded)
    monkeypatch.setattr(unknown_fields, "parse_message", recorded)
    async with piped(server) as pipe:
        await pipe.send(*[EMPTY] * 5_000)
        await pipe.outcomes(5_000)
    assert sum(parsed) == 2 * 5_000
    assert max(parsed) == message_parts.MAX_PART_ITEMS


async def test_nothing_of_a_long_message_that_is_none_is_tried(server: Wire) -> None:
    items = pb.AppendStreamRequest(items=[append(SMALL)] * 3_000).SerializeToString()
    async with piped(server) as pipe:
        await pipe.send(append(SMALL))
        await pipe.send_raw(items + b"\x0a\x02\x12\x7f")
        assert kinds(await pipe.outcomes(1)) == ["committed"]
        assert (await pipe.failed()).reason == "INVALID_ARGUMENT"
    assert (await server.info()).head == 1


async def test_an_unknown_field_in_one_part_of_a_long_message_is_the_outcome_of_its_item(
    server: Wire,
) -> None:
    strange = append(SMALL)
    strange.append.MergeFromString(b"\xf8\x07\x01")  # field 127
    async with piped(server) as pipe:
        await pipe.send(*[append(SMALL)] * 2_000, strange, append(SMALL))
        assert kinds(await pipe.outcomes(2_002))[-3:] == ["committed", "UNSUPPORTED_FIELD", "committed"]


async def test_large_items_and_messages_are_worked_on_as_the_edge_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "MAX_LARGE_REQUEST_BYTES", 350_000)
    at_once: list[int] = []
    async with serving(StallingStore) as (server, _), AsyncExitStack() as open_pipes:

        def recorded_parts(raw: bytes) -> object:
            at_once.append(server.server._edge._large_bytes)
            return message_parts.message_parts(raw)

        def recorded(request: pb.AppendRequest, pipeline: int = 0) -> object:
            at_once.append(server.server._edge._large_bytes)
            return preparing.prepared_append(request, pipeline)

        monkeypatch.setattr(append_stream, "message_parts", recorded_parts)
        monkeypatch.setattr(append_stream, "prepared_append", recorded)
        pipes = [await open_pipes.enter_async_context(piped(server)) for _ in range(6)]
        await asyncio.gather(*(pipe.send(*[append(LARGE)] * 3) for pipe in pipes))
        for pipe in pipes:
            assert set(kinds(await pipe.outcomes(3))) == {"committed"}
        assert server.server._edge._large_bytes == 0
    assert len(at_once) == 6 * (1 + 3)
    assert 100_000 < min(at_once) <= max(at_once) <= 350_000


async def test_a_large_message_that_waits_for_room_leaves_the_edge_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_WAITING_COST", 150_000)
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        await pipe.send(*[append(LARGE)] * 5)
        await until_waiting(server, 2)
        await server.info()
        assert (waiting(server), server.server._edge._large_bytes) == (2, 0)
        store.gate.set()
        assert set(kinds(await pipe.outcomes(6))) == {"committed"}


async def test_all_pipelines_together_have_one_room_and_a_least_share_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_ALL_WAITING_COST", 30_000)
    monkeypatch.setattr(append_pipeline, "LEAST_SHARE_COST", 3_000)
    async with serving(StallingStore) as (server, store), AsyncExitStack() as open_pipes:
        pipes = [await open_pipes.enter_async_context(piped(server)) for _ in range(10)]
        await stalled(pipes[0], store)
        await asyncio.gather(*(pipe.send(*[append(SMALL)] * 50) for pipe in pipes))
        log = server.server.log
        await until(lambda: all(pipeline.is_full for pipeline in log._pipelines), "all of them wait")
        await server.info()
        # Those that came first filled the room, and each of the others took its share: 3 items of about 1,050.
        assert 30_000 <= log._pipeline_room.used <= 30_000 + 10 * (3_000 + 1_100)
        assert all(len(pipeline._waiting) >= 3 for pipeline in log._pipelines)
        store.gate.set()
        assert kinds(await pipes[0].outcomes(51)) == ["committed"] * 51
        for pipe in pipes[1:]:
            assert kinds(await pipe.outcomes(50)) == ["committed"] * 50
        await until(lambda: log._pipeline_room.used == 0, "the room is free again")


async def test_a_client_that_takes_no_outcomes_holds_up_nobody_else_though_it_fills_the_room(
    served_store: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_pipeline, "MAX_ALL_WAITING_COST", 30_000)
    monkeypatch.setattr(append_pipeline, "LEAST_SHARE_COST", 3_000)
    takes = untaken_answers(monkeypatch)
    log = served_store.server.log
    async with piped(served_store) as stuck:
        await stuck.send(append(SMALL))
        await until(lambda: served_store.server._edge._sending == 1, "its first outcome is not taken")
        await stuck.send(*[append(SMALL)] * 200)
        await until(lambda: all(pipeline.is_full for pipeline in log._pipelines), "it has filled the room")
        async with piped(served_store) as other:
            await other.send(*[append(SMALL)] * 50)
            await other.send(*[append(SMALL)] * 50)
            assert kinds(await other.outcomes(100)) == ["committed"] * 100
        await served_store.append([SMALL])
        assert log._pipeline_room.is_full
        takes.set()
        assert kinds(await stuck.outcomes(201)) == ["committed"] * 201


def untaken_answers(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The client of the first stream that is answered takes its answers only when this is set."""
    takes, first = asyncio.Event(), list[grpc.aio.ServicerContext[bytes, bytes]]()
    write = Edge._write

    async def held(self: Edge, to: Answering, response: bytes) -> None:
        first.append(to.context)
        if to.context is first[0] and not takes.is_set():
            self._sending += 1
            await takes.wait()
            self._sending -= 1
        await write(self, to, response)

    monkeypatch.setattr(Edge, "_write", held)
    return takes
