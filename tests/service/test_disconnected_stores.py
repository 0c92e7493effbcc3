"""While a store is being connected to anew, appends wait for a bounded time, and streams for as long as it takes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import pytest

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Reason, Refusal, StoreDisconnected, store_full
from factstr_server.contract.query import EVERYTHING, CompiledQuery
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import Started
from factstr_server.log.subscription import Batches
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import Advance, BatchPage, BatchWindow, Outcome, StoreOptions
from tests.conformance.driver import NewFact
from tests.service.wrapping_store import FailingStore
from tests.stores.opened import prepared


class LostStore(FailingStore):
    """Reads of batches fail too, and one commit of a single append when a test says which."""

    lost_at: int | None = None
    singles = 0

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        self.singles += len(group) == 1
        if self.singles == self.lost_at:
            self.lost_at = None
            raise StoreDisconnected("gone")
        return await super().commit(group)

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        if self.failing_reads:
            raise self.failing_reads
        return await super().read_batches(query, window)

    def lose(self) -> None:
        self.failure = self.failing_reads = StoreDisconnected("gone")

    def come_back(self) -> None:
        self.failure = self.failing_reads = None


@asynccontextmanager
async def log_with(wait: float) -> AsyncIterator[tuple[EventLog, LostStore]]:
    store = LostStore(MemoryStore(StoreOptions()))
    log = EventLog(store, timedelta(seconds=0.1), timedelta(seconds=wait))
    await log.open()
    try:
        yield log, store
    finally:
        store.come_back()
        await log.close()


async def test_appends_wait_for_the_store_and_are_committed_in_their_order() -> None:
    async with log_with(30) as (log, store):
        store.lose()
        appends = [asyncio.ensure_future(log.append(prepared([NewFact(f"n{n}")]))) for n in range(20)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert not any(append.done() for append in appends)
        later = asyncio.ensure_future(log.append(prepared([NewFact("later")])))
        store.come_back()
        log.available(True)
        assert [(await append).first_sequence_number for append in appends] == list(range(1, 21))
        assert (await later).first_sequence_number == 21


async def test_appends_that_have_waited_long_enough_are_refused_and_committed_nothing() -> None:
    async with log_with(0.05) as (log, store):
        store.lose()
        with pytest.raises(Refusal) as refused:
            await log.append(prepared([NewFact()]))
        assert refused.value.reason is Reason.STORE_UNAVAILABLE
        assert refused.value.retry_after
        store.come_back()
        assert (await log.append(prepared([NewFact()]))).first_sequence_number == 1


async def test_an_append_whose_caller_has_gone_while_it_waited_is_dropped() -> None:
    async with log_with(30) as (log, store):
        store.lose()
        gone = asyncio.ensure_future(log.append(prepared([NewFact("gone")])))
        stays = asyncio.ensure_future(log.append(prepared([NewFact("stays")])))
        for _ in range(50):
            await asyncio.sleep(0)
        gone.cancel()
        store.come_back()
        log.available(True)
        assert (await stays).first_sequence_number == 1
        assert await log.head() == 1


async def test_the_order_holds_when_the_store_goes_away_while_a_full_group_is_tried_one_by_one() -> None:
    async with log_with(30) as (log, store):
        store.failure, store.largest_group = store_full(), 1
        store.lost_at = 2
        appends = [asyncio.ensure_future(log.append(prepared([NewFact(f"n{n}")]))) for n in range(5)]
        assert [(await append).first_sequence_number for append in appends] == [1, 2, 3, 4, 5]


async def test_a_stream_says_how_far_it_is_while_the_store_is_away_and_then_goes_on() -> None:
    async with log_with(30) as (log, store):
        for _ in range(3):
            await log.append(prepared([NewFact()]))
        log.diverged(0)  # So that the tail is empty, and everything comes from the store.
        log.head_seen(3)
        store.lose()
        async with aclosing(log.live.stream(EVERYTHING, 0)) as stream:
            store.failing_reads = None
            started = await anext(stream)
            store.lose()
            assert started == Started(0)
            log.head_seen(3)
            for _ in range(3):
                idle = await anext(stream)
                assert not isinstance(idle, Batches)
            store.come_back()
            while not isinstance(item := await anext(stream), Batches):
                pass
            assert item.ranges[0][0] == 1
