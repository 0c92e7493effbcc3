"""A durable stream whose name is created, consumed, left, reset and deleted, again and again, by one client."""

import asyncio
from random import Random
from typing import Final

from tests.conformance.driver import refused
from tests.conformance.streams import AT_HEAD, Batch, Start, Started, Stream
from tests.reliability.endurance.delivered import Delivering, Delivery
from tests.reliability.endurance.pace import Pace
from tests.reliability.endurance.visiting import MOMENT_SECONDS
from tests.sharing.accounts import Selection
from tests.sharing.servers import Remote

_LEASE_LOST: Final = "DURABLE_STREAM_LEASE_LOST"


class Name:
    """What is known of it is certain: nobody else uses it, and every answer is awaited."""

    def __init__(self, name: str, selection: Selection, store: Remote, chance: Random) -> None:
        self.name = name
        self.exists = False
        self.deliveries: list[Delivery] = []
        """Of its streams; and what its cursor has passed, which delivers nothing."""
        self._selection = selection
        self._store = store
        self._chance = chance
        self._acknowledged = 0
        """Or where it was begun, or reset to."""
        self._head = 0
        self._epoch = 0

    async def work(self, pace: Pace, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await pace.wait()
            await self._consume()

    async def _consume(self) -> None:
        window = self._chance.choice((2, 50))
        start: Start = self._chance.choice((AT_HEAD, self._head))
        # The server may not know yet that the last stream was left.
        async with self._store.stream_to_durable(
            self.name, self._selection.query, window=window, start=start, wait=True
        ) as stream:
            self._begun(await stream.next_of(Started), start)
            token = await self._read(stream, window)
            [ending] = self._chance.choices((self._leave, self._reset, self._delete), (80, 10, 10))
            await ending(stream, token)

    def _begun(self, started: Started, start: Start) -> None:
        assert started.lease_epoch > self._epoch, f"{self.name}: {started} after epoch {self._epoch}"
        self._epoch = started.lease_epoch
        if self.exists:
            passed = Delivery(f"passed by {self.name}", self._selection, self._acknowledged, started.after)
            assert passed.up_to >= passed.after, passed
            self.deliveries.append(passed)
        elif start is not AT_HEAD:
            assert started.after == start
        self.exists = True
        self._acknowledged = started.after

    async def _read(self, stream: Stream, window: int) -> str:
        """Gives the token of the last batch, if any."""
        delivering = Delivering(self.name, self._selection, self._acknowledged)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._chance.random() * MOMENT_SECONDS
        token = ""
        unacknowledged = 0
        while (left := end - loop.time()) > 0 and (item := await stream.next_within(left)) is not None:
            delivering.take(item._replace(token="") if isinstance(item, Batch) else item)
            if isinstance(item, Batch):
                token = item.token
                unacknowledged += 1
                if unacknowledged == window or self._chance.random() < 0.3:
                    assert await self._store.acknowledge(self.name, token) >= item.last
                    self._acknowledged = item.last
                    unacknowledged = 0
        self._head = max(self._head, delivering.so_far.up_to)
        self.deliveries.append(delivering.so_far)
        return token

    async def _leave(self, stream: Stream, token: str) -> None:
        """Without a word."""

    async def _reset(self, stream: Stream, token: str) -> None:
        cursor = max(0, self._head - self._chance.randrange(100))
        state = await self._store.reset(self.name, cursor, force=True)
        assert (state.cursor, state.active) == (cursor, False), state
        self._acknowledged = cursor
        await self._has_lost_its_lease(stream, token)

    async def _delete(self, stream: Stream, token: str) -> None:
        await self._store.delete(self.name, force=True)
        self.exists = False
        with refused("DURABLE_STREAM_NOT_FOUND"):
            await self._store.durable(self.name)
        assert (await stream.ended()).reason == _LEASE_LOST

    async def _has_lost_its_lease(self, stream: Stream, token: str) -> None:
        assert (await stream.ended()).reason == _LEASE_LOST
        if token:
            with refused(_LEASE_LOST):
                await self._store.acknowledge(self.name, token)
