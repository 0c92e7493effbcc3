"""The one committer: many appends, one durable commit.

States of an append: queued -> in the group under way -> answered. Handlers queue and await; one task takes groups.

Invariants:
- Appends are committed in the order in which they were queued, whole, and never by two groups at once.
- An append is answered only after its group's outcome is durable, conflicts and repeats included.
- A caller that is cancelled while its append is queued takes it along; once it is in a group, the commit is left alone.
- The queue holds at most `MAX_QUEUED_BYTES`; beyond it callers get SERVER_BUSY, with nothing committed.
- No append fails because of another one of its group: a group that is too large for the store's room is tried append
  by append.
"""

import asyncio
import logging
from collections import deque
from typing import Final, NamedTuple

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Reason, Refusal, server_busy, server_draining
from factstr_server.stores.protocol import LogStore, Outcome

MAX_GROUP_APPENDS: Final = 4_096
MAX_GROUP_BYTES: Final = 8 * 1024 * 1024
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024

_QUEUED_OVERHEAD_BYTES: Final = 256
"""What a queued append costs beyond its events, so that a flood of tiny ones is bounded too."""

_QUIET_TURNS: Final = 8
_ENOUGH_BYTES: Final = 64 * 1024
"""Turns of the loop without a new append, or bytes of appends, after which a group is taken."""

_log = logging.getLogger(__name__)


class _Queued(NamedTuple):
    append: PreparedAppend
    answer: asyncio.Future[Outcome]


class Committer:
    """Runs in one event loop; `submit` may be called by any number of its tasks."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._draining = False
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="committer")

    async def submit(self, append: PreparedAppend) -> Outcome:
        """Queues an append and waits for its outcome. Raises Refusal."""
        if self._draining:
            raise server_draining()
        cost = append.size + _QUEUED_OVERHEAD_BYTES
        if self._queue and self._queued_bytes + cost > MAX_QUEUED_BYTES:
            raise server_busy(
                f"{self._queued_bytes} bytes of appends wait for their commit",
                limit=MAX_QUEUED_BYTES,
                actual=self._queued_bytes + cost,
            )
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(append, answer))
        self._queued_bytes += cost
        self._work.set()
        return await answer

    async def drain(self) -> None:
        """Refuses new appends, commits those that are queued, and ends. Idempotent."""
        self._draining = True
        self._work.set()
        if self._task:
            await self._task

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            await self._let_others_queue()
            group = self._take_group()
            if group:
                await self._commit(group)
            elif self._draining:
                return
            else:
                self._work.clear()

    async def _let_others_queue(self) -> None:
        """Lets the event loop hand in what has already arrived. No timer: it ends once the loop brings nothing more.

        Without it a group under load begins with the first of many requests that are being read, and most commits pay
        their fixed cost for a few appends.
        """
        quiet, seen = 0, len(self._queue)
        while quiet < _QUIET_TURNS and self._queued_bytes < _ENOUGH_BYTES and not self._draining:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == seen else 0
            seen = len(self._queue)

    def _take_group(self) -> list[_Queued]:
        """All that is queued, up to the limits of a group; without waiting for more."""
        group: list[_Queued] = []
        size = 0
        while self._queue and len(group) < MAX_GROUP_APPENDS:
            if group and size + self._queue[0].append.size > MAX_GROUP_BYTES:
                break
            queued = self._queue.popleft()
            self._queued_bytes -= queued.append.size + _QUEUED_OVERHEAD_BYTES
            if not queued.answer.cancelled():
                group.append(queued)
                size += queued.append.size
        return group

    async def _commit(self, group: list[_Queued]) -> None:
        try:
            outcomes = await self._store.commit([queued.append for queued in group])
        except Refusal as refusal:
            if refusal.reason is Reason.STORE_FULL and len(group) > 1:
                for queued in group:
                    await self._commit([queued])
                return
            _fail(group, refusal)
        except Exception as error:  # noqa: BLE001  (a defect must not end the committer)
            _log.exception("a commit of %d appends failed unexpectedly", len(group))
            _fail(group, error)
        else:
            for queued, outcome in zip(group, outcomes, strict=True):
                if not queued.answer.done():
                    queued.answer.set_result(outcome)


def _fail(group: list[_Queued], error: Exception) -> None:
    for queued in group:
        if not queued.answer.done():
            queued.answer.set_exception(error)
