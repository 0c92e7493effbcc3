"""Leases are given back, and acknowledgements heeded, whatever the store or the caller does at that moment."""

import asyncio

import pytest

from factstr_server.contract.acknowledgement import TokenMint
from factstr_server.contract.errors import store_unavailable
from factstr_server.contract.query import EVERYTHING, EventQuery
from factstr_server.log import durable_streams
from factstr_server.log.durable_streams import Consumption, ConsumptionStarted
from factstr_server.log.event_log import EventLog
from factstr_server.log.subscription import Batches
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.driver import NewFact
from tests.service.wrapping_store import StallingStore, WrappingStore
from tests.stores.opened import prepared


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
