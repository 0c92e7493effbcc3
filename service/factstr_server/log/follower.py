"""What other servers commit, brought to this server's streams between what it commits itself.

Own batches come from the committer, foreign ones are read from the store, when somebody has seen that its log reaches
further than the dispatcher has heard of.

Invariants (one task reads; everything else happens in one step of the loop):
- The dispatcher hears of batches in commit order and without a gap, or is moved to a head, from where its streams read
  for themselves: when there are too many, or no streams at all.
- Own batches that follow the dispatcher's position reach it in the step in which they come. Those that do not wait for
  the foreign ones below them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from factstr_server.contract.append import PreparedAppend, committed_event
from factstr_server.contract.batch_frame import parse_frame
from factstr_server.contract.errors import Refusal
from factstr_server.contract.query import EVERYTHING
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.tail import TailBatch
from factstr_server.stores.protocol import BatchPage, BatchWindow, Committed, LogStore

MOST_FOLLOWED: Final = 5_000
"""Facts. Of more than that at once each stream reads what it wants."""

_MOST_WAITING: Final = 10_000
"""Own batches that are kept for when the foreign ones below them are here."""

_PAGE_BYTES: Final = 1024 * 1024
_MADE_HERE_BYTES: Final = 64 * 1024
"""Larger pages are taken apart in a thread, so that the event loop goes on."""

_TRY_AGAIN_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class Follower:
    """One for a log."""

    def __init__(self, store: LogStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._waiting: deque[TailBatch] = deque()
        """Own batches, in order, above foreign ones that are not here yet."""
        self._wanted = 0
        """How far the log is known to reach."""
        self._restarts = 0
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="follower")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def committed(self, batches: Sequence[TailBatch]) -> None:
        """Takes what this server has committed, in order."""
        if not batches:
            return
        if not self._waiting and batches[0].first <= self._dispatcher.position + 1:
            self._dispatcher.committed(batches)
        else:
            self._waiting.extend(batches)
            if len(self._waiting) > _MOST_WAITING:
                # The store cannot be read, or not fast enough: these are read there too then.
                self._waiting.clear()
            self.head_seen(batches[-1].last)

    def head_seen(self, head: int) -> None:
        """The store's log reaches as far as that, or further."""
        if head > max(self._wanted, self._dispatcher.position):
            self._wanted = head
            self._work.set()

    def restart_at(self, head: int) -> None:
        """The log has lost its end."""
        self._restarts += 1
        self._waiting.clear()
        self._wanted = head
        self._dispatcher.restart_at(head)

    async def _run(self) -> None:
        """Ends when it is cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._dispatcher.position < self._wanted:
                try:
                    await self._step()
                except Refusal:
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)
                except Exception:  # noqa: BLE001  (a defect must not end it: streams read the store instead)
                    _log.exception("what other servers have committed cannot be followed")
                    self._dispatcher.move_to(self._wanted)
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _step(self) -> None:
        position = self._dispatcher.position
        while self._waiting and self._waiting[0].last <= position:
            self._waiting.popleft()
        own: list[TailBatch] = []
        while self._waiting and self._waiting[0].first == (own[-1].last if own else position) + 1:
            own.append(self._waiting.popleft())
        if own:
            self._dispatcher.committed(own)
            return
        up_to = self._waiting[0].first - 1 if self._waiting else self._wanted
        if up_to - position > MOST_FOLLOWED or not self._dispatcher.streams:
            self._dispatcher.move_to(up_to)
            return
        restarts = self._restarts
        page = await self._store.read_batches(EVERYTHING, BatchWindow(position, up_to, max_bytes=_PAGE_BYTES))
        if sum(map(len, page.frames)) > _MADE_HERE_BYTES:
            batches = await asyncio.to_thread(_batches, page)
        else:
            batches = _batches(page)
        if self._restarts == restarts:
            self._dispatcher.committed(batches)


def _batches(page: BatchPage) -> list[TailBatch]:
    return [_batch(frame) for frame in page.frames]


def _batch(frame: bytes) -> TailBatch:
    first, last, records = parse_frame(frame)
    times, events = zip(*map(committed_event, records), strict=True)
    append = PreparedAppend(events, sum(len(event.body) for event in events))
    return TailBatch(Committed(first, last, times[0]), append)
