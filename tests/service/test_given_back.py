"""Leases are given back and ended, and acknowledgements heeded, whatever the store or the caller does meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TypeVar

import pytest

from factstr_server.contract.acknowledgement import TokenMint
from factstr_server.contract.errors import Reason, Refusal, store_unavailable
from factstr_server.contract.query import EVERYTHING, EventQuery
from factstr_server.log import durable_streams
from factstr_server.log.durable_streams import Consumption, ConsumptionItem, ConsumptionStarted
from factstr_server.log.event_log import EventLog
from factstr_server.log.subscription import Batches
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import Store, StoreOptions
from factstr_server.stores.stream_protocol import DeleteOutcome, ResetOutcome
from tests.conformance.driver import NewFact
from tests.service.wrapping_store import StallingStore, WrappingStore
from tests.stores.opened import prepared

T = TypeVar("T")
WANTED = Consumption("s", EVERYTHING, EventQuery().as_text(), "a test", 10)


class ReleasingLate(WrappingStore):
    """Takes a lease back at the third try only."""

    tries = 0

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        self.tries += 1
        if self.tries == 1:
            raise store_unavailable("a test")
        if self.tries == 2:
            raise RuntimeError("a defect")
        await super().release(durable_stream, lease_epoch)


async def test_a_lease_is_given_back_as_soon_as_the_store_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable_streams, "_RELEASE_AGAIN_SECONDS", 0.01)
    store = ReleasingLate(MemoryStore(StoreOptions()))
    log = EventLog(store)
    await log.open()
    try:
        wanted = Consumption("s", EVERYTHING, EventQuery().as_text(), "a test", 10, wait_for_lease=True)
        first = log.durable.consume(wanted)
        assert await anext(first) == ConsumptionStarted(0, 1)
        await first.aclose()
        second = log.durable.consume(wanted)
        async with asyncio.timeout(10):
            while not isinstance(item := await anext(second), ConsumptionStarted):
                pass
        assert item == ConsumptionStarted(0, 2)
        assert store.tries == 3
        await second.aclose()
    finally:
        await log.close()


async def test_an_acknowledgement_counts_although_its_caller_has_gone_before_it_was_committed() -> None:
    store = StallingStore(MemoryStore(StoreOptions()))
    log = EventLog(store)
    await log.open()
    try:
        for _ in range(2):
            await log.append(prepared([NewFact()]))
        consuming = log.durable.consume(Consumption("s", EVERYTHING, EventQuery().as_text(), "a test", 1))
        assert await anext(consuming) == ConsumptionStarted(0, 1)
        assert isinstance(first := await anext(consuming), Batches)
        assert first.ranges == [(1, 1)]
        store.gate.clear()
        token = TokenMint(store.acknowledgement_key, "s").token(1, 1)
        acknowledging = asyncio.create_task(log.durable.acknowledge("s", token))
        await store.waiting.wait()
        acknowledging.cancel()
        store.gate.set()
        # The window of one has room again.
        async with asyncio.timeout(5):
            assert isinstance(second := await anext(consuming), Batches)
        assert second.ranges == [(2, 2)]
        assert (await log.positions.get("s")).cursor == 1
        await consuming.aclose()
    finally:
        await log.close()


async def test_whoever_gives_up_waiting_for_the_last_commits_leaves_them_alone() -> None:
    store = StallingStore(MemoryStore(StoreOptions()))
    log = EventLog(store)
    await log.open()
    store.gate.clear()
    appending = asyncio.create_task(log.append(prepared([NewFact()])))
    await store.waiting.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.drain(), 0.01)
    store.gate.set()
    assert (await appending).first_sequence_number == 1
    await log.close()


class ChangingLate(WrappingStore):
    """Resets and deletions wait at a gate, after they have happened."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        return await self._late(await super().reset(durable_stream, cursor, force=force))

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        return await self._late(await super().delete(durable_stream, force=force))

    async def _late(self, outcome: T) -> T:
        self.waiting.set()
        await self.gate.wait()
        return outcome


@pytest.mark.parametrize("change", ["reset", "delete"])
async def test_a_consumer_hears_that_its_lease_was_ended_although_who_ended_it_has_gone(change: str) -> None:
    store = ChangingLate(MemoryStore(StoreOptions()))
    log = EventLog(store)
    await log.open()
    try:
        consuming = log.durable.consume(WANTED)
        assert isinstance(await anext(consuming), ConsumptionStarted)
        positions = log.positions
        changing: asyncio.Task[object] = asyncio.create_task(
            positions.reset("s", 0, force=True) if change == "reset" else positions.delete("s", force=True)
        )
        await store.waiting.wait()
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        store.gate.set()
        await lost(consuming)
    finally:
        await log.close()


async def test_a_consumer_ends_when_another_one_begins_under_a_newer_lease() -> None:
    store = MemoryStore(StoreOptions())
    log = EventLog(store)
    await log.open()
    try:
        first, second = (log.durable.consume(WANTED) for _ in range(2))
        assert await anext(first) == ConsumptionStarted(0, 1)
        # Past this server: another one on the same store.
        await store.reset("s", 0, force=True)
        assert await anext(second) == ConsumptionStarted(0, 3)
        await lost(first)
        assert log.durable.consumer("s")
        await second.aclose()
    finally:
        await log.close()


class HeadLate(WrappingStore):
    """Says at a gate where its log ends, to the first who asks."""

    gate: asyncio.Event | None = None
    asked = False

    async def head(self) -> int:
        if self.gate and not self.asked:
            self.asked = True
            await self.gate.wait()
        return await super().head()


async def test_a_consumer_that_comes_late_with_an_older_lease_is_in_nobodys_way() -> None:
    inner = MemoryStore(StoreOptions())
    store = HeadLate(inner)
    log = EventLog(store)
    await log.open()
    try:
        # A fact of which this server's streams have not heard: the first consumer has to ask for the head.
        await inner.commit([prepared([NewFact()])])
        store.gate = asyncio.Event()
        late = log.durable.consume(replace(WANTED, start_after=None))
        starting = asyncio.ensure_future(anext(late))
        while (stored := await inner.get("s")) is None or stored.holder is None:  # noqa: ASYNC110  (it has no event)
            await asyncio.sleep(0)
        await inner.reset("s", 0, force=True)
        second = log.durable.consume(WANTED)
        assert await anext(second) == ConsumptionStarted(0, 3)
        store.gate.set()
        with pytest.raises(Refusal) as caught:
            await starting
        assert caught.value.reason is Reason.DURABLE_STREAM_LEASE_LOST
        consumer = log.durable.consumer("s")
        assert consumer
        assert consumer.lease_epoch == 3
        await second.aclose()
    finally:
        await log.close()


async def lost(consuming: AsyncGenerator[ConsumptionItem, None]) -> None:
    """Long before the next heartbeat."""
    async with asyncio.timeout(5):
        with pytest.raises(Refusal) as caught:
            [_ async for _ in consuming]
    assert caught.value.reason is Reason.DURABLE_STREAM_LEASE_LOST
