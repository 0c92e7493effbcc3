"""What a conformance test says to a stream and sees of it, whichever way it reaches the store."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias, TypeVar

from tests.conformance.facts import Fact, Query
from tests.conformance.failure import Failure

PATIENCE_SECONDS: Final = 10.0
"""After this long without a message a test fails. Far more than anything takes, even on a busy machine."""

T = TypeVar("T")


class Started(NamedTuple):
    """Registration is active: what matches after this position will be delivered."""

    after: int
    lease_epoch: int = 0
    """Of durable streams."""


class Batch(NamedTuple):
    """What matches of one commit, and the first and last sequence number of the whole commit."""

    first: int
    last: int
    facts: tuple[Fact, ...]
    token: str = ""

    @property
    def numbers(self) -> list[int]:
        return [fact.sequence_number for fact in self.facts]

    @property
    def shape(self) -> tuple[int, int, list[int]]:
        return self.first, self.last, self.numbers


class CaughtUp(NamedTuple):
    head: int


class Checkpoint(NamedTuple):
    position: int


class Waiting(NamedTuple):
    lease_epoch: int
    holder: str


Item: TypeAlias = Started | Batch | CaughtUp | Checkpoint | Waiting
I = TypeVar("I", Started, Batch, CaughtUp, Checkpoint, Waiting)  # noqa: E741

Read: TypeAlias = Callable[[], Awaitable[Sequence[Item]]]
"""The items of the next message. Raises Failure where the stream has ended."""


class AtHead(Enum):
    AT_HEAD = "at the head"


AT_HEAD: Final = AtHead.AT_HEAD
FROM_THE_BEGINNING: Final = None
Start: TypeAlias = int | AtHead | None
"""Where a new name starts: after a position, at the head, or (None: not said) before the first fact."""


class DurableStream(NamedTuple):
    """The state of a durable stream. Times in microseconds."""

    name: str
    query: Query
    cursor: int
    head: int
    lag_events: int
    lag: int
    active: bool
    holder: str
    waiting: int
    lease_epoch: int
    created_at: int
    acknowledged_at: int | None


class Listing(NamedTuple):
    """A page of durable streams, and the token of the next one."""

    streams: list[DurableStream]
    token: str

    @property
    def names(self) -> list[str]:
        return [stream.name for stream in self.streams]


class Stream:
    """One stream, open for the length of a block. Once it was asked for its first message it reads one ahead, as the
    edge of a server does: a stream's own work goes on while nobody asks.
    """

    def __init__(self, read: Read, close: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._close = close
        self._ready: deque[Item] = deque()
        self._reading: asyncio.Future[Sequence[Item]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leaves without a word, as a client does. Idempotent."""
        reading, self._reading = self._reading, None
        try:
            if reading:
                reading.cancel()
                # Not awaited itself: who is cancelled meanwhile could not be told from what is read.
                await asyncio.wait((reading,))
                if not reading.cancelled():
                    reading.exception()
        finally:
            await self._close()

    async def next(self) -> Item:
        """The next item. Raises Failure where the stream has ended."""
        item = await self.next_within(PATIENCE_SECONDS)
        assert item is not None, f"nothing came for {PATIENCE_SECONDS} s"
        return item

    async def next_within(self, seconds: float) -> Item | None:
        """The next item, or None when none came for so long; the stream goes on."""
        while not self._ready:
            reading = self._reading = self._reading or asyncio.ensure_future(self._read())
            await asyncio.wait((reading,), timeout=seconds)
            if not reading.done():
                return None
            self._reading = None
            self._ready.extend(reading.result())
            self._reading = asyncio.ensure_future(self._read())
        return self._ready.popleft()

    def ready(self) -> list[Item]:
        """What came with the last message and was not asked for yet."""
        items = list(self._ready)
        self._ready.clear()
        return items

    async def next_of(self, kind: type[I]) -> I:
        """The next item of a kind; others before it are passed over."""
        while True:
            item = await self.next()
            if isinstance(item, kind):
                return item

    async def started(self) -> Started:
        """The first item, which says that registration is active."""
        item = await self.next()
        assert isinstance(item, Started), item
        return item

    async def batches(self, count: int) -> list[Batch]:
        """So many batches."""
        return [await self.next_of(Batch) for _ in range(count)]

    async def ended(self) -> Failure:
        """Why the stream ends, whatever comes before."""
        while True:
            try:
                await self.next()
            except Failure as failure:
                return failure

    async def until_caught_up(self) -> list[Batch]:
        """All batches until the stream says that it is at the head."""
        batches: list[Batch] = []
        while not isinstance(item := await self.next(), CaughtUp):
            if isinstance(item, Batch):
                batches.append(item)
        return batches


async def eventually(look: Callable[[], Awaitable[T]], accept: Callable[[T], bool]) -> T:
    """Looks again and again, for a bounded time, at what cannot be awaited, until it is as it should be."""
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not accept(seen := await look()):
        assert asyncio.get_running_loop().time() < end, f"still {seen} after {PATIENCE_SECONDS} s"
        await asyncio.sleep(0.01)
    return seen
