"""Appends that wait for their commit: groups, the bounded queue, clients that leave, and a server that stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import store_full
from factstr_server.log import committer
from factstr_server.rpc import edge
from tests.conformance.driver import Appended, NewFact, of_type, refused
from tests.conformance.wire import Wire, new_events, told
from tests.service import raw
from tests.service.conftest import serving
from tests.service.wrapping_store import FailingStore, StallingStore
from tests.waiting import until


def queued(server: Wire) -> int:
    """Appends that wait for their group."""
    return len(server.server.log._committer._queue)


async def until_queued(server: Wire, appends: int) -> None:
    await until(lambda: queued(server) == appends, f"{appends} appends are queued")


async def stalled(server: Wire, store: StallingStore) -> "asyncio.Task[Appended]":
    """An append whose commit is under way and does not end."""
    store.gate.clear()
    first = asyncio.create_task(server.append([NewFact("first")]))
    await store.waiting.wait()
    return first


async def test_appends_that_wait_are_committed_together_in_the_order_in_which_they_came() -> None:
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        waiting = []
        for number in range(10):
            waiting.append(asyncio.create_task(server.append([NewFact(f"waiting-{number}")])))
            await until_queued(server, len(waiting))
        store.gate.set()
        assert [answer.first for answer in await asyncio.gather(first, *waiting)] == list(range(1, 12))
        assert store.groups == [1, 10]


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_GROUP_APPENDS", 4), ("MAX_GROUP_BYTES", 450), ("MAX_GROUP_EVENTS", 9)]
)
async def test_a_group_is_bounded_in_appends_bytes_and_facts(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(committer, limit, value)
    fifty_bytes = NewFact("waiting", '"' + "x" * 37 + '"')
    assert new_events([fifty_bytes])[0].ByteSize() == 50
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        waiting = [asyncio.create_task(server.append([fifty_bytes] * 2)) for _ in range(10)]
        await until_queued(server, 10)
        store.gate.set()
        answers = await asyncio.gather(first, *waiting)
        assert sorted(answer.first for answer in answers) == [1, *range(2, 22, 2)]
        assert store.groups == [1, 4, 4, 2]


@pytest.mark.parametrize(("limit", "value"), [("MAX_GROUP_BYTES", 10), ("MAX_GROUP_EVENTS", 4)])
async def test_an_append_larger_than_a_group_goes_alone(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(committer, limit, value)
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        waiting = []
        for facts in (5, 1, 5):
            waiting.append(asyncio.create_task(server.append([NewFact("a", '"1234567"')] * facts)))
            await until_queued(server, len(waiting))
        store.gate.set()
        assert [answer.last for answer in await asyncio.gather(first, *waiting)] == [1, 6, 7, 12]
        assert store.groups == [1, 1, 1, 1]


async def test_too_many_large_requests_at_once_answer_server_busy_and_commit_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "MAX_LARGE_REQUEST_BYTES", 150_000)
    large = NewFact("large", '"' + "x" * 100_000 + '"')
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        waiting = asyncio.create_task(server.append([large]))
        await until_queued(server, 1)
        with refused("SERVER_BUSY"):
            await server.append([large])
        small = asyncio.create_task(server.append([NewFact("small")]))
        await until_queued(server, 2)
        store.gate.set()
        assert [answer.first for answer in await asyncio.gather(first, waiting, small)] == [1, 2, 3]
        assert (await server.append([large])).first == 4


async def test_a_full_queue_answers_server_busy_and_commits_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "MAX_QUEUED_BYTES", 10_000)
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        large = NewFact("waiting", '"' + "x" * 8_000 + '"')
        waiting = asyncio.create_task(server.append([large]))
        await until_queued(server, 1)
        for method, request in (
            (raw.APPEND, pb.AppendRequest(events=new_events([large]))),
            (raw.APPEND_IF, pb.AppendIfRequest(events=new_events([large]))),
        ):
            error = await raw.error(server, method, request)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            delay = raw.retry_delay(error)
            assert delay is not None
            assert delay.ToNanoseconds() > 0
            assert raw.names_of_details(error) == [raw.ERROR_INFO, raw.RETRY_INFO]
        with refused("SERVER_BUSY") as caught:
            await server.append([large])
        assert caught.value.metadata["limit"] == "10000"
        small = asyncio.create_task(server.append([NewFact("small")]))
        await until_queued(server, 2)
        store.gate.set()
        assert [answer.first for answer in await asyncio.gather(first, waiting, small)] == [1, 2, 3]
        assert await server.head() == 3
        assert (await server.append([large])).first == 4


async def test_a_burst_of_thousands_of_calls_is_answered_call_by_call(server: Wire) -> None:
    answers = await asyncio.gather(*(server.append([NewFact()]) for _ in range(3_000)))
    assert sorted(answer.first for answer in answers) == list(range(1, 3_001))


async def test_queries_are_answered_while_appends_wait() -> None:
    async with serving(StallingStore) as (server, store):
        await server.append([NewFact("before")])
        first = await stalled(server, store)
        assert (await server.query()).numbers == [1]
        store.gate.set()
        await first


async def test_an_append_whose_client_left_while_it_waited_is_dropped() -> None:
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        left = asyncio.create_task(server.append([NewFact("left")]))
        stayed = asyncio.create_task(server.append([NewFact("stayed")]))
        await until_queued(server, 2)
        left.cancel()
        queue = server.server.log._committer._queue
        await until(lambda: sum(item.answer.cancelled() for item in queue) == 1, "the client has left")
        store.gate.set()
        assert [(await first).first, (await stayed).first] == [1, 2]
        assert (await server.query(of_type("left"))).facts == ()


async def test_an_append_whose_client_left_during_its_commit_is_committed() -> None:
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await server.query()
        store.gate.set()
        assert (await server.append([NewFact("next")])).first == 2
        assert [fact.event_type for fact in (await server.query()).facts] == ["first", "next"]


async def test_an_append_past_its_deadline_tells_its_client_so() -> None:
    async with serving(StallingStore) as (server, store):
        store.gate.clear()
        request = pb.AppendRequest(events=new_events([NewFact()])).SerializeToString()
        with refused("") as caught:
            await told(raw.unary(server.channel, raw.APPEND)(request, timeout=0.05))
        assert caught.value.code == "DEADLINE_EXCEEDED"
        store.gate.set()
        assert await server.head() <= 1


async def test_a_group_that_finds_no_room_is_tried_append_by_append() -> None:
    def wrap(inner: object) -> FailingStore:
        store = FailingStore(StallingStore(inner))  # type: ignore[arg-type]
        store.failure, store.largest_group = store_full(), 1
        return store

    async with serving(wrap) as (server, store):
        assert isinstance(store.inner, StallingStore)
        first = await stalled(server, store.inner)
        waiting = [asyncio.create_task(server.append([NewFact("waiting")])) for _ in range(5)]
        await until_queued(server, 5)
        store.inner.gate.set()
        assert [answer.first for answer in await asyncio.gather(first, *waiting)] == list(range(1, 7))


async def stopping(server: Wire) -> "asyncio.Task[None]":
    """The server's stop, begun."""
    task = asyncio.create_task(server.server.stop())
    await until(lambda: server.server._edge.draining, "the server drains")
    return task


async def test_a_stopping_server_finishes_the_appends_under_way() -> None:
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        waiting = [asyncio.create_task(server.append([NewFact("waiting")])) for _ in range(5)]
        await until_queued(server, 5)
        stop = await stopping(server)
        store.gate.set()
        assert sorted(answer.first for answer in await asyncio.gather(first, *waiting)) == list(range(1, 7))
        await stop


CALLS: list[Callable[[Wire], Awaitable[object]]] = [
    lambda server: server.append([NewFact("late")]),
    lambda server: server.append_if([NewFact("late")], of_type("late"), None),
    lambda server: server.query(),
    lambda server: server.info(),
]


@pytest.mark.parametrize("call", CALLS, ids=["Append", "AppendIf", "Query", "GetServerInfo"])
async def test_a_stopping_server_refuses_new_calls_with_server_draining(
    call: Callable[[Wire], Awaitable[object]],
) -> None:
    async with serving(StallingStore) as (server, store):
        first = await stalled(server, store)
        stop = await stopping(server)
        try:
            with refused("SERVER_DRAINING") as caught:
                await call(server)
            assert caught.value.code == "UNAVAILABLE"
        finally:
            store.gate.set()
            assert (await first).first == 1
            # Nobody is left to be waited for: long before the drain's bound.
            async with asyncio.timeout(10):
                await stop


async def test_a_stopping_server_says_so_to_health_checks() -> None:
    async with serving(StallingStore) as (server, store):
        health: Any = health_pb2_grpc.HealthStub(server.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="factstr.v1.EventStoreService"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        first = await stalled(server, store)
        stop = await stopping(server)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        store.gate.set()
        await first
        await stop
