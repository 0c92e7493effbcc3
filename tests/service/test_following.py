"""What other servers commit reaches this server's streams, between what it commits itself.

Two logs share one memory store here, which is what two servers on one database are, and the test is the notification.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.query import EVERYTHING, CompiledQuery
from factstr_server.log import follower
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import Started, StreamItem
from factstr_server.log.subscription import Batches, CaughtUp
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import StoreInfo, StoreListener, StoreOptions
from tests.conformance.driver import NewFact, of_type, where
from tests.service.wrapping_store import WrappingStore
from tests.stores.opened import compiled, prepared

Delivered = list[tuple[int, int, list[int]]]
QUERIES = (EVERYTHING, compiled(of_type("a")), compiled(where('{"x":1}')), compiled(where("[1]")))


@asynccontextmanager
async def two_logs() -> AsyncIterator[tuple[EventLog, EventLog]]:
    store = MemoryStore(StoreOptions())
    async with AsyncExitStack() as stack:
        logs = [EventLog(WrappingStore(store)), EventLog(WrappingStore(store))]
        for log in logs:
            await log.open()
            stack.push_async_callback(log.close)
        yield logs[0], logs[1]


class Reader:
    """A stream, and what it has delivered."""

    def __init__(self, log: EventLog, query: CompiledQuery, after: int) -> None:
        self.query = query
        self.delivered: Delivered = []
        self._items = log.live.stream(query, after)
        self.position = after

    async def read_up_to(self, head: int) -> None:
        """Until everything up to the head was delivered, or does not match."""
        while self.position < head:
            item: StreamItem = await anext(self._items)
            if isinstance(item, Batches):
                for frame in item.frames:
                    for batch in pb.CommittedBatches.FromString(frame).batches:
                        numbers = [record.sequence_number for record in batch.event_records]
                        self.delivered.append(
                            (batch.first_sequence_number, batch.last_sequence_number, numbers)
                        )
                        self.position = batch.last_sequence_number
            elif isinstance(item, CaughtUp):
                self.position = max(self.position, item.head)

    async def close(self) -> None:
        await self._items.aclose()


async def test_a_batch_of_another_server_wakes_the_streams_that_it_may_match() -> None:
    async with two_logs() as (here, there):
        reader = Reader(here, compiled(of_type("a")), 0)
        async with aclosing(here.live.stream(compiled(of_type("b")), 0)) as other:
            assert [type(await anext(other)) for _ in range(2)] == [Started, CaughtUp]
            waiting = asyncio.ensure_future(anext(other))
            await there.append(prepared([NewFact("a", '{"x":1}'), NewFact("c")]))
            here.head_seen(2)
            await reader.read_up_to(2)
            assert reader.delivered == [(1, 2, [1])]
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait((waiting,))
        await reader.close()


async def test_own_batches_come_after_the_foreign_ones_below_them_without_a_notification() -> None:
    async with two_logs() as (here, there):
        reader = Reader(here, EVERYTHING, 0)
        for number in range(1, 30, 2):
            await there.append(prepared([NewFact("there")]))
            await here.append(prepared([NewFact("here")]))
            await reader.read_up_to(number + 1)
        assert reader.delivered == [(n, n, [n]) for n in range(1, 31)]
        await reader.close()


async def test_a_stream_from_now_on_begins_where_the_store_is_and_not_where_this_server_is() -> None:
    async with two_logs() as (here, there):
        await there.append(prepared([NewFact("before")]))
        async with aclosing(here.live.stream(EVERYTHING, None)) as stream:
            assert await anext(stream) == Started(1)
            assert await anext(stream) == CaughtUp(1)
            await there.append(prepared([NewFact("after")]))
            here.head_seen(2)
            item = await anext(stream)
            assert isinstance(item, Batches)
            assert item.ranges == [(2, 2)]


@pytest.mark.parametrize("most_followed", [0, 3, 5_000])
async def test_all_streams_of_two_servers_deliver_the_log_whatever_they_hear_and_when(
    most_followed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "MOST_FOLLOWED", most_followed)
    print("seed", seed := random.randrange(2**32))
    chance = random.Random(seed)
    async with two_logs() as logs:
        readers: list[Reader] = []
        expected: Delivered = []
        for _ in range(150):
            log = chance.choice(logs)
            facts = [NewFact(chance.choice("ab"), chance.choice(('{"x":1}', '{"x":2}', "[1,2]")))]
            result = await log.append(prepared(facts * chance.choice((1, 1, 3))))
            numbers = list(range(result.first_sequence_number, result.last_sequence_number + 1))
            expected.append((numbers[0], numbers[-1], numbers))
            if chance.random() < 0.3:
                chance.choice(logs).head_seen(chance.randint(1, numbers[-1]))
            if chance.random() < 0.1:
                readers.append(Reader(chance.choice(logs), chance.choice(QUERIES), 0))
            if readers and chance.random() < 0.3:
                await asyncio.sleep(0)
        head = expected[-1][1]
        for log in logs:
            log.head_seen(head)
        for reader in readers:
            await reader.read_up_to(head)
        oracle = {id(query): await matching(logs[0], query) for query in QUERIES}
        for reader in readers:
            wanted = [(f, last, [n for n in ns if n in oracle[id(reader.query)]]) for f, last, ns in expected]
            assert reader.delivered == [batch for batch in wanted if batch[2]]
            await reader.close()


async def matching(log: EventLog, query: CompiledQuery) -> set[int]:
    records = [record async for part in log.query(query) for record in part.records]
    return {event_pb2.EventRecord.FromString(record).sequence_number for record in records}


async def test_when_the_log_has_lost_its_end_streams_end_and_new_ones_begin_on_the_new_log() -> None:
    async with two_logs() as (here, _):
        await here.append(prepared([NewFact(), NewFact()]))
        async with aclosing(here.live.stream(EVERYTHING, 0)) as stream:
            for _ in range(3):
                await anext(stream)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            here.diverged(1)
            with pytest.raises(Refusal) as refused:
                await waiting
        assert refused.value.reason is Reason.LOG_DIVERGED
        reader = Reader(here, EVERYTHING, 0)
        here.head_seen(2)
        await here.append(prepared([NewFact()]))
        await reader.read_up_to(3)
        assert reader.delivered == [(1, 2, [1, 2]), (3, 3, [3])]
        await reader.close()


class DivergingStore(WrappingStore):
    """Its log loses its end just after somebody was told where it ends."""

    history_id = "before"
    listener: StoreListener

    @property
    def info(self) -> StoreInfo:
        return super().info._replace(history_id=self.history_id)

    def watch(self, listener: StoreListener) -> None:
        self.listener = listener
        super().watch(listener)

    async def head(self) -> int:
        head = await super().head()
        if head and self.history_id == "before":
            self.history_id = "after"
            self.listener.diverged(head)
            return head + 1
        return head


async def test_a_stream_does_not_begin_at_the_end_of_a_log_that_is_lost_meanwhile() -> None:
    log = EventLog(DivergingStore(MemoryStore(StoreOptions())))
    await log.open()
    try:
        await log.append(prepared([NewFact()]))
        async with aclosing(log.live.stream(EVERYTHING, None)) as stream:
            assert await anext(stream) == Started(1)
    finally:
        await log.close()
