"""A lease that was given is given back, whatever the store says at that moment."""

import asyncio

import pytest

from factstr_server.contract.errors import store_unavailable
from factstr_server.contract.query import EVERYTHING, EventQuery
from factstr_server.log import durable_streams
from factstr_server.log.durable_streams import Consumption, ConsumptionStarted
from factstr_server.log.event_log import EventLog
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import StoreOptions
from tests.service.wrapping_store import WrappingStore


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
