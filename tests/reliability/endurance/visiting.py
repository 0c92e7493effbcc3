"""Live streams that come and go: read for a moment and left, cut off with their connection, or never read at all."""

import asyncio
from random import Random
from typing import Final

from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import refused
from tests.conformance.streams import Stream
from tests.reliability.endurance.cutting import called
from tests.reliability.endurance.delivered import Delivering, Delivery
from tests.reliability.endurance.pace import Pace
from tests.service import raw
from tests.sharing.accounts import SELECTIONS, Selection
from tests.sharing.servers import Remote

MOMENT_SECONDS: Final = 0.25
_RECENT: Final = 200
"""Facts."""


class Visitor:
    """One client, which opens one stream after the other."""

    def __init__(self, store: Remote, head: int, chance: Random) -> None:
        self.deliveries: list[Delivery] = []
        self._store = store
        self._head = head
        """As far as it has heard of it."""
        self._chance = chance

    async def work(self, pace: Pace, ending: asyncio.Event) -> None:
        kinds = (
            self._live,
            self._recent,
            self._with_its_connection,
            self._cut_off,
            self._replay,
            self._unread,
        )
        while not ending.is_set():
            await pace.wait()
            [visit] = self._chance.choices((*kinds, self._beyond_head), (40, 35, 1, 10, 4, 2, 8))
            await visit()

    async def _live(self) -> None:
        await self._read("a live stream", self._store, self._chance.choice(SELECTIONS), None)

    async def _recent(self) -> None:
        """What the server has in memory, from any position, also inside a batch."""
        after = max(0, self._head - self._chance.randrange(_RECENT))
        await self._read("a stream that goes on", self._store, self._chance.choice(SELECTIONS), after)

    async def _replay(self) -> None:
        """Far back, from the store once there are enough newer facts. It is left long before its end."""
        after = self._chance.randrange(self._head // 2)
        await self._read("a replay", self._store, self._chance.choice(SELECTIONS), after)

    async def _with_its_connection(self) -> None:
        async with Remote(self._store.address) as own:
            await self._read("a stream of its own connection", own, SELECTIONS[0], None)

    async def _read(self, what: str, store: Remote, selection: Selection, after: int | None) -> None:
        async with store.stream_to(selection.query, after) as stream:
            started = await stream.started()
            assert after is None or started.after == after
            delivering = Delivering(what, selection, started.after)
            await read_for(stream, delivering, self._chance.random() * MOMENT_SECONDS)
            if store is not self._store:
                await store.stop()
        self._head = max(self._head, delivering.so_far.up_to)
        self.deliveries.append(delivering.so_far)

    async def _cut_off(self) -> None:
        """Without a farewell, in the middle of what it receives."""
        request = pb.StreamAllRequest(after_sequence_number=max(0, self._head - _RECENT))
        async with called(self._store, raw.STREAM_ALL, request) as received:
            assert received
            await asyncio.sleep(self._chance.random() * MOMENT_SECONDS)

    async def _unread(self) -> None:
        """More than fits on its way, so that the server cannot go on."""
        request = pb.StreamAllRequest(after_sequence_number=0)
        call = raw.streaming(self._store.channel, raw.STREAM_ALL)(request.SerializeToString())
        await asyncio.sleep(4 * self._chance.random() * MOMENT_SECONDS)
        call.cancel()

    async def _beyond_head(self) -> None:
        with refused("CURSOR_AHEAD_OF_LOG"):
            async with self._store.stream_all(self._head + 1_000_000) as stream:
                await stream.started()


async def read_for(stream: Stream, delivering: Delivering, seconds: float) -> None:
    """Takes what comes."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0 and (item := await stream.next_within(left)) is not None:
        delivering.take(item)
