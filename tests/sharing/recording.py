"""Streams that are read from beginning to end while something happens, and compared with the log afterwards."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, Self

from tests.conformance.driver import Driver, Failure
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, Item, Started, Stream
from tests.sharing.accounts import Selection, is_the_end
from tests.sharing.writing import STORE_AWAY, TRY_AGAIN_SECONDS

SILENCE_SECONDS: Final = 10.0
"""A stream says something at every heartbeat, also while its store does not answer."""


class Recorder:
    """One stream, read in a task of its own until the end of the log (`accounts.the_end`), with no client that would
    hide an interruption.
    """

    def __init__(self, store: Driver, selection: Selection, after: int | None = None) -> None:
        self.selection = selection
        self.batches: list[Batch] = []
        self.after = -1
        self._stream = self._open(store, after)
        self._task: asyncio.Task[None] | None = None

    def _open(self, store: Driver, after: int | None) -> Stream:
        return store.stream_to(self.selection.query, after)

    async def begin(self) -> Self:
        """Returns when registration is active."""
        item = await self._next()
        assert isinstance(item, Started), item
        self.after = item.after
        self._task = asyncio.create_task(self._read())
        return self

    async def ended(self, seconds: float) -> None:
        """Waits until the stream has delivered the log's end, and leaves it."""
        assert self._task is not None
        try:
            async with asyncio.timeout(seconds):
                await self._task
        finally:
            await self.leave()

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.close()

    async def _read(self) -> None:
        while True:
            item = await self._next()
            if isinstance(item, Batch):
                self.batches.append(item._replace(token=""))
                await self._take(item)
                if is_the_end(item):
                    return
            else:
                assert isinstance(item, CaughtUp | Checkpoint), item
                position = item.head if isinstance(item, CaughtUp) else item.position
                assert not self.batches or position >= self.batches[-1].last, item

    async def _take(self, batch: Batch) -> None:
        """What is done with a batch."""

    async def _next(self) -> Item:
        item = await self._stream.next_within(SILENCE_SECONDS)
        assert item is not None, f"a stream said nothing for {SILENCE_SECONDS} s"
        return item

    def check(self, log: Sequence[Batch]) -> None:
        """It delivered its part of the log: nothing missing, nothing twice, nothing else."""
        assert self.batches == self.selection.of(log, self.after), f"{self.selection.name} after {self.after}"


class Consumer(Recorder):
    """A durable stream, consumed at one server and acknowledged at several, some batches at a time."""

    def __init__(self, stores: Sequence[Driver], selection: Selection, name: str) -> None:
        self.name = name
        self.cursor = 0
        self._stores = stores
        self._chance = random.Random(name)
        super().__init__(stores[0], selection)

    def _open(self, store: Driver, after: int | None) -> Stream:
        return store.stream_to_durable(self.name, self.selection.query)

    async def _take(self, batch: Batch) -> None:
        while is_the_end(batch) or self._chance.random() < 0.2:
            try:
                store = self._chance.choice(self._stores)
                cursor = await store.acknowledge(self.name, batch.token)
            except Failure as failure:
                if not STORE_AWAY(failure):
                    raise
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                assert cursor >= batch.last > self.cursor
                self.cursor = batch.last
                return


async def whole_log(store: Driver) -> list[Batch]:
    """All batches that are in the log now, in order."""
    head = await store.head()
    batches: list[Batch] = []
    async with store.stream_all(after=0) as stream:
        await stream.started()
        while head and (not batches or batches[-1].last < head):
            batches.append(await stream.next_of(Batch))
    return batches
