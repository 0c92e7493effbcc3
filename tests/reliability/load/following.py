"""A live stream that goes on after every interruption, as clients do it, and what it has delivered in all."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from tests.conformance.driver import Driver, Failure
from tests.conformance.streams import Batch, CaughtUp, Item, Started, Stream, Waiting
from tests.reliability.load.excuses import SILENCE
from tests.sharing.accounts import Selection, is_the_end
from tests.sharing.writing import TRY_AGAIN_SECONDS, Excused

SILENCE_SECONDS: Final = 10.0
"""A stream says something at every heartbeat."""


async def said(stream: Stream, silence: float) -> Item:
    """The next item. Raises Failure where the stream has ended, or said nothing for so many seconds."""
    item = await stream.next_within(silence)
    if item is None:
        raise Failure(SILENCE, f"a stream said nothing for {silence} s")
    return item


class Follower:
    """Reads until it has seen the log's end, at one server after the other."""

    def __init__(
        self,
        stores: Sequence[Driver],
        selection: Selection,
        after: int | None,
        excused: Excused,
        chance: Random,
        *,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.selection = selection
        self.batches: list[Batch] = []
        self.openings = 0
        self._after = after
        """None: where the first registration becomes active."""
        self._position = after
        self._stores = stores
        self._excused = excused
        self._chance = chance
        self._silence = silence

    async def follow(self) -> None:
        while not self._ended:
            stream = self._chance.choice(self._stores).stream_to(self.selection.query, self._position)
            try:
                async with stream:
                    await self._read(stream)
            except Failure as failure:
                if not self._excused(failure):
                    raise
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    @property
    def _ended(self) -> bool:
        return bool(self.batches) and is_the_end(self.batches[-1])

    async def _read(self, stream: Stream) -> None:
        while not self._ended:
            item = await said(stream, self._silence)
            assert not isinstance(item, Waiting)
            if isinstance(item, Batch):
                assert self._position is not None
                assert item.first > self._position, f"{item} after {self._position}"
                self.batches.append(item)
                self._position = item.last
            elif isinstance(item, Started):
                assert self._position in (None, item.after)
                if self._after is None:
                    self._after = item.after
                self._position = item.after
                self.openings += 1
            else:
                position = item.head if isinstance(item, CaughtUp) else item.position
                assert self._position is not None
                assert position >= self._position, f"{item} after {self._position}"
                self._position = position

    def check(self, log: Sequence[Batch]) -> None:
        """Nothing missing, nothing twice, nothing else, through all interruptions."""
        assert self._after is not None
        assert self.batches == self.selection.of(log, self._after), f"{self.selection.name}, {self._after}"
