"""The one committer: many appends and moved cursors, one durable commit.

States of an append: queued -> in the group under way -> answered. Handlers queue and await; one task takes groups.
What is said of appends here holds for moved cursors too. What is queued is a run: one append, or several of a pipeline.

Invariants:
- Appends are committed in the order in which they were queued, whole, and never by two groups at once. One that the
  store leaves undecided is queued again by its caller, who looks its context up meanwhile.
- A run is in one group as a whole. Its answer is the outcomes of its first appends, at least of one: what comes after
  them was not tried.
- An append is answered only after its group's outcome is durable, conflicts and repeats included.
- A caller that is cancelled while its append is queued takes it along; once it is in a group, the commit is left alone.
- The queue holds at most `MAX_QUEUED_BYTES`; beyond it callers get SERVER_BUSY, with nothing committed.
- No append fails because of another one of its group: a group that is too large for the store's room is tried run by
  run, and a run append by append, up to the first that fails.
- Streams hear of a group's batches in commit order, after they are durable, and in the step in which their appends are
  answered: whoever has the answer finds the log's end moved.
- What a store may have committed without saying so is looked for until the store answers.
- While a store is being connected to anew, appends stay queued, in their order, each for a bounded time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from time import perf_counter, time_ns
from typing import Final, NamedTuple, TypeAlias

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Reason, Refusal, StoreDisconnected, server_busy, server_draining
from factstr_server.log.figures import CommitFigures
from factstr_server.log.follower import Follower
from factstr_server.log.tail import TailBatch
from factstr_server.log.tracing import Tracing
from factstr_server.stores.protocol import (
    Advance,
    Advanced,
    AdvanceOutcome,
    AppendOutcome,
    Committed,
    Conflict,
    KeyReused,
    LeaseOver,
    LogStore,
    Outcome,
    Repeated,
    Undecided,
)
from factstr_server.stores.stream_protocol import PositionAhead, StreamNotFound

MAX_GROUP_APPENDS: Final = 4_096
MAX_GROUP_BYTES: Final = 8 * 1024 * 1024
MAX_GROUP_EVENTS: Final = 10_000
"""So that a group of many small events does not keep other servers waiting for long."""

MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024

_QUEUED_OVERHEAD_BYTES: Final = 256
"""What a queued append costs beyond its events, so that a flood of tiny ones is bounded too."""

_QUIET_TURNS: Final = 30
_QUIET_TURNS_ALONE: Final = 2
_ENOUGH_BYTES: Final = 64 * 1024
"""Turns of the loop without a new append, or bytes of appends, after which a group is taken; the turns are fewer while
appends come one by one. Measured in docs/decisions/0021."""

_LOOK_AGAIN_SECONDS: Final = 1.0
"""Between two looks at a store's head after a commit whose outcome it could not tell."""

_TRY_AGAIN_SECONDS: Final = 0.2
"""Between two tries while the store is being connected to anew."""

_log = logging.getLogger(__name__)


Run: TypeAlias = Sequence[PreparedAppend | Advance]


class _Queued(NamedTuple):
    run: Run
    size: int
    answer: asyncio.Future[list[Outcome]]
    since: float
    """The loop's time."""
    origin: object | None = None
    """The call that it came with, where that is traced."""

    @property
    def cost(self) -> int:
        """What it counts for in the queue."""
        return self.size + _QUEUED_OVERHEAD_BYTES * len(self.run)

    @property
    def events(self) -> int:
        return sum(len(item.events) for item in self.run if isinstance(item, PreparedAppend))


class Committer:
    """Runs in one event loop; `submit` may be called by any number of its tasks."""

    def __init__(
        self,
        store: LogStore,
        follower: Follower,
        unavailable_wait: timedelta,
        tracing: Tracing | None = None,
    ) -> None:
        self._store = store
        self._tracing = tracing
        self._follower = follower
        self._wait_seconds = unavailable_wait.total_seconds()
        self._disconnected: StoreDisconnected | None = None
        """Why the store did not take the last group, which is queued again."""
        self._back = asyncio.Event()
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._draining = False
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._in_doubt = False
        self._committing = False
        self.figures = CommitFigures()
        self._alone = True
        """Whether the last group was of one run, and nothing came while it was committed."""
        self.on_advanced: Callable[[Advance, AdvanceOutcome], None] = lambda _advance, _outcome: None
        """Called with each outcome of a moved cursor, whether or not somebody still waits for it."""

    @property
    def appends_wait(self) -> bool:
        """Whether appends are under way, which share the loop with the streams."""
        return self._committing or bool(self._queue)

    @property
    def queued(self) -> tuple[int, int]:
        """How many appends wait for their commit, and the bytes that they count for."""
        return sum(len(queued.run) for queued in self._queue), self._queued_bytes

    def store_is_back(self) -> None:
        """Whoever waits for the store may try again at once."""
        self._back.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="committer")

    async def submit(self, append: PreparedAppend) -> AppendOutcome:
        """Queues an append and waits for its outcome. Raises Refusal."""
        if self._draining:
            raise server_draining()
        cost = append.size + _QUEUED_OVERHEAD_BYTES
        if self._is_full_for(cost):
            raise server_busy(
                f"{self._queued_bytes} bytes of appends wait for their commit",
                limit=MAX_QUEUED_BYTES,
                actual=self._queued_bytes + cost,
            )
        [outcome] = await self._queued((append,), append.size)
        return _of_append(outcome)

    async def submit_run(self, appends: Sequence[PreparedAppend]) -> list[AppendOutcome]:
        """Queues appends of one pipeline, as soon as there is room, and waits for the outcomes of the first of them.
        Raises Refusal when there is none. At most a group's worth.
        """
        size = sum(append.size for append in appends)
        while not self._draining and self._is_full_for(size + _QUEUED_OVERHEAD_BYTES * len(appends)):
            self._room.clear()
            await self._room.wait()
        if self._draining:
            raise server_draining()
        return list(map(_of_append, await self._queued(appends, size)))

    async def advance(self, advance: Advance) -> AdvanceOutcome:
        """Queues the move of a cursor and waits for its outcome. Raises Refusal."""
        if self._draining:
            raise server_draining()
        [outcome] = await self._queued((advance,), 0)
        return _of_advance(outcome)

    def _is_full_for(self, cost: int) -> bool:
        return bool(self._queue) and self._queued_bytes + cost > MAX_QUEUED_BYTES

    def _queued(self, run: Run, size: int) -> asyncio.Future[list[Outcome]]:
        loop = asyncio.get_running_loop()
        origin = self._tracing.origin() if self._tracing else None
        queued = _Queued(run, size, loop.create_future(), loop.time(), origin)
        self._queue.append(queued)
        self._queued_bytes += queued.cost
        self._work.set()
        return queued.answer

    async def drain(self) -> None:
        """Refuses new appends, commits those that are queued, and ends. Idempotent."""
        self._draining = True
        self._work.set()
        self._room.set()
        if self._task:
            # Whoever gives up waiting leaves the commit under way alone.
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while True:
            await self._next_work()
            if self._disconnected:
                await self._outlast(self._disconnected)
            await self._let_others_queue()
            group = self._take_group()
            if group:
                self._committing = True
                await self._commit(group)
                self._committing = False
                self._alone = len(group) == 1 and not self._queue
            elif self._draining:
                return
            else:
                self._work.clear()

    async def _next_work(self) -> None:
        """Waits until something is queued. In doubt it asks the store again and again where its log ends."""
        while self._in_doubt and not self._draining:
            try:
                self._follower.head_seen(await self._store.head())
                self._in_doubt = False
                break
            except Refusal:
                pass  # It does not answer yet.
            except Exception:  # noqa: BLE001  (a defect must not end the committer)
                _log.exception("the store cannot say where its log ends")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._work.wait()
                    return
        await self._work.wait()

    async def _outlast(self, why: StoreDisconnected) -> None:
        """Waits a moment for the store, and tells those who have waited long enough."""
        self._disconnected = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_TRY_AGAIN_SECONDS):
                await self._back.wait()
        self._back.clear()
        too_old = asyncio.get_running_loop().time() - self._wait_seconds
        expired = []
        while self._queue and self._queue[0].since <= too_old:
            expired.append(self._take())
        self._fail(expired, why)

    async def _let_others_queue(self) -> None:
        """Lets the event loop hand in what has already arrived. No timer: it ends once the loop brings nothing more.

        Without it a group under load begins with the first of many requests that are being read, and most commits pay
        their fixed cost for a few appends.
        """
        quiet, seen = 0, len(self._queue)
        turns = _QUIET_TURNS_ALONE if self._alone else _QUIET_TURNS
        while quiet < turns and self._queued_bytes < _ENOUGH_BYTES and not self._draining:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._queue) == seen else 0
            seen = len(self._queue)

    def _take_group(self) -> list[_Queued]:
        """All that is queued, up to the limits of a group; without waiting for more."""
        group: list[_Queued] = []
        appends = size = events = 0
        while self._queue:
            first = self._queue[0]
            appends += len(first.run)
            size += first.size
            events += first.events
            too_large = appends > MAX_GROUP_APPENDS or size > MAX_GROUP_BYTES or events > MAX_GROUP_EVENTS
            if group and too_large:
                break
            queued = self._take()
            if queued.answer.cancelled():
                appends -= len(queued.run)
                size -= queued.size
                events -= queued.events
            else:
                group.append(queued)
        self._room.set()
        return group

    def _take(self) -> _Queued:
        queued = self._queue.popleft()
        self._queued_bytes -= queued.cost
        return queued

    def _put_back(self, group: Sequence[_Queued]) -> None:
        self._queue.extendleft(reversed(group))
        self._queued_bytes += sum(queued.cost for queued in group)
        self._work.set()

    async def _commit(self, group: list[_Queued]) -> None:
        items = [item for queued in group for item in queued.run]
        began, began_at = perf_counter(), time_ns()
        try:
            outcomes = await self._store.commit(items)
            assert len(outcomes) == len(items), "a store has an outcome for each"
        except StoreDisconnected as disconnected:
            self._disconnected = disconnected
            self._put_back(group)
        except Refusal as refusal:
            self._in_doubt |= refusal.reason is Reason.APPEND_OUTCOME_UNKNOWN
            if refusal.reason is Reason.STORE_FULL and len(items) > 1:
                await self._commit_apart(group)
                return
            self._fail(group, refusal)
        except Exception as error:  # noqa: BLE001  (a defect must not end the committer)
            self._in_doubt = True
            _log.exception("a commit of %d appends failed unexpectedly", len(items))
            self._fail(group, error)
        else:
            self.figures.committed(outcomes, len(items), perf_counter() - began)
            # Both happen in one step of the loop. Those who wait for answers are scheduled first: a thousand streams
            # that wake take their time.
            answers = iter(outcomes)
            for queued in group:
                answer = list(islice(answers, len(queued.run)))
                if not queued.answer.done():
                    queued.answer.set_result(answer)
                if self._tracing and queued.origin is not None:
                    _trace(self._tracing, queued.origin, answer, len(items), began_at)
            try:
                self._dispatch(items, outcomes)
            except Exception:  # noqa: BLE001  (a defect must not end the committer: streams read the store instead)
                self._in_doubt = True
                _log.exception("what came of a group of %d could not be told", len(items))

    async def _commit_apart(self, group: list[_Queued]) -> None:
        """Run by run; a run that is alone in its group, append by append, where the first one is its answer."""
        if len(group) == 1:
            group = [group[0]._replace(run=group[0].run[:1])]
        for place, queued in enumerate(group, 1):
            await self._commit([queued])
            if self._disconnected:
                self._put_back([self._take(), *group[place:]])
                return

    def _fail(self, group: list[_Queued], error: Exception) -> None:
        self.figures.failed_groups += bool(group)
        for queued in group:
            if not queued.answer.done():
                queued.answer.set_exception(error)

    def _dispatch(self, items: Sequence[PreparedAppend | Advance], outcomes: Sequence[Outcome]) -> None:
        batches = []
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(item, Advance):
                self.on_advanced(item, _of_advance(outcome))
            elif isinstance(outcome, Committed):
                batches.append(TailBatch(outcome, item))
        self._follower.committed(batches)


def _trace(
    tracing: Tracing, origin: object, outcomes: Sequence[Outcome], group_size: int, began_at: int
) -> None:
    for outcome in outcomes:
        if isinstance(outcome, Committed):
            first, last, _ = outcome
            tracing.committed(origin, first, last, group_size=group_size, began=began_at)


def _of_append(outcome: Outcome) -> AppendOutcome:
    assert isinstance(outcome, Committed | Repeated | Conflict | KeyReused | Undecided)
    return outcome


def _of_advance(outcome: Outcome) -> AdvanceOutcome:
    assert isinstance(outcome, Advanced | LeaseOver | StreamNotFound | PositionAhead)
    return outcome
