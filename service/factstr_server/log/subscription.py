"""A subscription: one stream's cursor over the log, the same for replay and live, filtered or not.

States: behind (reads batches after its position: from the tail where it reaches back so far, else from the store) and
at the head (parked, `log.dispatcher`). There is no queue of its own and nothing to hand over between the two, so that
no batch can be lost or repeated there; a stream that is slow just reads further back.

Invariants:
- Everything up to `position` was returned by `next` or does not match. It never goes back.
- One page is read at a time, and some ahead of it once the stream has shown that it reads: what a stream that does
  not read holds is bounded.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from factstr_server.contract.errors import Refusal, StoreDisconnected
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.contract.query import CompiledQuery
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.read_ahead import PagesAhead, ReadAhead
from factstr_server.stores.protocol import BatchPage, BatchWindow, LogStore

_FIRST_PAGE_BYTES: Final = 32 * 1024
"""Pages double from here to the size of a message, so that a stream that nobody reads from holds little."""

_PAGES_AHEAD: Final = 3
"""That come with one read. The next read begins when no more are left than that."""

_LARGEST_PAGE_BYTES: Final = MAX_RESPONSE_BYTES - 8
"""The rest is what a message holds beside its frames."""

_TRY_AGAIN_SECONDS: Final = 0.2
"""Between two tries to read from a store that is being connected to anew."""


class Batches(NamedTuple):
    """Batches to deliver, encoded (`contract.batch_frame`), and the first and last sequence number of each frame's."""

    frames: list[bytes]
    ranges: list[tuple[int, int]]


class CaughtUp(NamedTuple):
    """The stream is at the head: at its beginning, or after it had to read from the store."""

    head: int


class Idle(NamedTuple):
    """Nothing is to be delivered up to this position, and the time is over."""

    position: int


Step: TypeAlias = Batches | CaughtUp | Idle


class Subscription:
    """Used by one task, except for `end` and `position`."""

    def __init__(
        self,
        store: LogStore,
        dispatcher: Dispatcher,
        read_ahead: ReadAhead,
        query: CompiledQuery,
        *,
        after: int,
        head: int,
    ) -> None:
        """`head` is the store's when the stream begins: it is caught up no sooner than there."""
        self._store = store
        self._dispatcher = dispatcher
        self._query = query
        self._seat = dispatcher.take_seat(query)
        self._seat.position = after
        self._begun_at_head = head
        self._page_bytes = _FIRST_PAGE_BYTES
        self._caught_up_is_news = True
        self._ahead = PagesAhead(read_ahead)
        """What follows the position."""
        self._reading: asyncio.Task[BatchPage] | None = None
        self._reading_after = 0
        """It follows the pages ahead, unless they were forgotten."""
        self._ended: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        self.on_end: Callable[[], None] = lambda: None
        """Called when `end` is, for somebody who is not in `next`."""

    @property
    def position(self) -> int:
        """How far the stream has come; while it is parked, that is the head."""
        seat = self._seat
        return max(seat.position, self._dispatcher.position) if seat.parked else seat.position

    @property
    def ended(self) -> bool:
        return self._ended.done()

    def end(self, why: Refusal) -> None:
        """Makes `next` raise this, at once where it waits. The first reason counts."""
        if not self._ended.done():
            self._ended.set_result(why)
            self._seat.wake(self.position)
            self.on_end()

    def close(self) -> None:
        """Gives the place up; nothing may be called after it."""
        if self._reading:
            self._reading.cancel()
        self._ahead.forget()
        self._dispatcher.leave_seat(self._seat)

    async def next(self, due: float, *, max_batches: int | None = None) -> Step:
        """What there is to say next: batches, that the head is reached, or at the loop's time `due`, that there is
        nothing. With `max_batches` frames come one by one. Raises Refusal.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self._ended.done():
                raise self._ended.result()
            if self._seat.position < max(self._dispatcher.position, self._begun_at_head):
                page = await self._read(due, max_batches)
                if page and page.frames:
                    return Batches(page.frames, page.ranges)
            elif self._caught_up_is_news:
                self._caught_up_is_news = False
                return CaughtUp(self._seat.position)
            else:
                await self._parked(due)
            if loop.time() >= due and not self._ended.done():
                return Idle(self._seat.position)

    async def _parked(self, due: float) -> None:
        """Waits at the head for a batch that may match, the end, or `due`."""
        woken = self._seat.park()
        # Its position is the head from now on: somebody may await that.
        self._dispatcher.on_moved()
        timer = asyncio.get_running_loop().call_at(due, self._wake_at_head)
        try:
            await woken
        finally:
            timer.cancel()
            self._wake_at_head()

    def _wake_at_head(self) -> None:
        self._seat.wake(self._dispatcher.position)

    async def _read(self, due: float, max_batches: int | None) -> BatchPage | None:
        """The next page; None when the store has not answered until `due`, or the stream has ended."""
        # What the dispatcher has not heard of when the stream begins is in no tail.
        unheard = self._seat.position >= self._dispatcher.position
        window = BatchWindow(
            self._seat.position,
            self._begun_at_head if unheard else self._dispatcher.position,
            max_batches=max_batches,
            max_bytes=self._page_bytes,
            joined=max_batches is None,
        )
        page: BatchPage | None
        if self._ahead:
            page = self._ahead.take()
            self._read_ahead(window, page)
        elif self._reading or unheard or not (page := self._dispatcher.read_tail(self._seat, window)):
            page = await self._read_from_store(window, due)
        elif not page.frames:
            # A long way through the tail without a match: others go on.
            await asyncio.sleep(0)
        if page:
            self._seat.position = max(self._seat.position, page.looked_up_to)
            if page.frames:
                self._page_bytes = min(2 * self._page_bytes, _LARGEST_PAGE_BYTES)
        return page

    async def _read_from_store(self, window: BatchWindow, due: float) -> BatchPage | None:
        self._caught_up_is_news = True
        reading = self._reading
        if not reading or self._reading_after != window.after:
            reading = self._start_reading(window)
        timeout = max(due - asyncio.get_running_loop().time(), 0)
        await asyncio.wait((reading, self._ended), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return None
        self._reading = None
        try:
            page = await reading
        except StoreDisconnected:
            # The stream goes on when the store is there again; until then it says how far it is.
            pause = min(timeout, _TRY_AGAIN_SECONDS)
            await asyncio.wait((self._ended,), timeout=pause)
            return None
        self._ahead.add(page.following)
        self._read_ahead(window, page)
        return page

    def _read_ahead(self, window: BatchWindow, page: BatchPage) -> None:
        """Has the store read on while what was read is being sent, for a stream that has shown that it reads."""
        after = (self._ahead.newest if self._ahead else page).looked_up_to
        reads_well = self._page_bytes == _LARGEST_PAGE_BYTES
        wanted = window.joined and reads_well and len(self._ahead) <= _PAGES_AHEAD and not self._reading
        if wanted and after < self._dispatcher.tail.begins_after:
            position = self._dispatcher.position
            self._start_reading(window._replace(after=after, up_to=position, pages_ahead=_PAGES_AHEAD))

    def _start_reading(self, window: BatchWindow) -> asyncio.Task[BatchPage]:
        if self._reading:
            self._reading.cancel()
        self._reading_after = window.after
        self._reading = asyncio.create_task(self._store.read_batches(self._query, window))
        # Of a stream that has gone nobody asks how the read went.
        self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        return self._reading
