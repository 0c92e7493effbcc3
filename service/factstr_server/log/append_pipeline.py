"""Pipelined appends: what one caller has sent and is not answered yet, committed and answered in its order.

States of an item: waiting -> in the run under way -> answered. One task puts, another one takes the answers.

Invariants:
- At most one run of a pipeline is with the committer, and the next one begins after its answers: nothing that was sent
  after a failed item is tried before somebody knows of the failure.
- Answers come in the order of the items, those that were refused before they could wait among them.
- A failure of the store ends the pipeline after the answers to everything before it.
- What waits is bounded for one pipeline and for all of them, by what it takes in memory: whoever puts looks for room
  before each item, and may then go beyond it by that one.
- A pipeline may always have its least share waiting, however much others have: a caller that does not take its answers
  holds up nobody else.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Refusal
from factstr_server.stores.protocol import AppendOutcome, Undecided

MAX_RUN_APPENDS: Final = 1_024
MAX_RUN_COST: Final = 2 * 1024 * 1024
"""So that a few pipelines fit into one group. A single append may cost more."""

MAX_WAITING_APPENDS: Final = 4_096
MAX_WAITING_COST: Final = 4 * 1024 * 1024
"""Of one pipeline; beyond it nothing more is taken from its caller."""

MAX_ALL_WAITING_COST: Final = 64 * 1024 * 1024
"""Of all pipelines, but for their least shares."""

LEAST_SHARE_COST: Final = 256 * 1024

_ITEM_COST: Final = 768
_EVENT_COST: Final = 256
"""Bytes that an item that waits, and each of its events, takes beside what was sent."""

_CONDITION_FACTOR: Final = 4
_ALTERNATIVE_COST: Final = 256
"""How many times its bytes a condition's parsed query takes, and each of its alternatives beside that."""

Item: TypeAlias = PreparedAppend | Refusal
"""An append, or why there is none."""


class Answer(NamedTuple):
    """What became of an item."""

    correlation_id: int
    outcome: AppendOutcome | Refusal


class _Waiting(NamedTuple):
    correlation_id: int
    item: Item
    cost: int
    """About what it takes in memory, in bytes."""


class Room:
    """What waits in all pipelines together."""

    def __init__(self) -> None:
        self.used = 0
        self._wanted: set[asyncio.Event] = set()

    @property
    def is_full(self) -> bool:
        return self.used >= MAX_ALL_WAITING_COST

    @contextmanager
    def wanted(self, freed: asyncio.Event) -> Iterator[None]:
        """Meanwhile the event is set as often as something is taken out and room is left."""
        self._wanted.add(freed)
        try:
            yield
        finally:
            self._wanted.discard(freed)

    def change(self, cost: int) -> None:
        self.used += cost
        if cost < 0 and not self.is_full:
            for freed in self._wanted:
                freed.set()


class AppendPipeline:
    """One caller's. Made, fed and emptied in one event loop."""

    def __init__(
        self,
        number: int,
        room: Room,
        submit: Callable[[Sequence[PreparedAppend]], Awaitable[list[AppendOutcome]]],
        look_up: Callable[[PreparedAppend], Awaitable[PreparedAppend]],
    ) -> None:
        """`submit` commits the first of some appends, at least one; `look_up` helps one that was left undecided."""
        self.number = number
        self._room = room
        self._submit = submit
        self._look_up = look_up
        self._waiting: deque[_Waiting] = deque()
        self._cost = 0
        self._freed = asyncio.Event()
        self._work = asyncio.Event()
        self._ended = False
        self._failure: Exception | None = None

    async def room(self) -> None:
        """Waits until more may be put."""
        if self.is_full:
            with self._room.wanted(self._freed):
                while self.is_full:
                    self._freed.clear()
                    await self._freed.wait()

    @property
    def is_full(self) -> bool:
        """Whether whoever puts has to wait."""
        if self._ended:
            return False
        if len(self._waiting) >= MAX_WAITING_APPENDS or self._cost >= MAX_WAITING_COST:
            return True
        return self._cost >= LEAST_SHARE_COST and self._room.is_full

    def put(self, correlation_id: int, item: Item, size: int) -> None:
        """`size` is that of the item as it was sent. What comes after the end is dropped: nobody would answer it."""
        if not self._ended:
            cost = _cost(item, size)
            self._waiting.append(_Waiting(correlation_id, item, cost))
            self._count(cost)
            self._work.set()

    def end(self, failure: Exception | None = None) -> None:
        """Nothing more comes. What waits is still committed and answered; then the failure is raised, if any."""
        if not self._ended:
            self._ended, self._failure = True, failure
            self._work.set()

    def halt(self, why: Refusal) -> None:
        """Ends it without what waits: only the run under way is answered."""
        self._ended, self._failure = True, why
        self._forget_waiting()
        self._work.set()

    def close(self) -> None:
        """Nobody takes answers any more. The run under way is left to the committer."""
        self._ended = True
        self._forget_waiting()

    async def answers(self) -> AsyncGenerator[list[Answer], None]:
        """The answers in order, as many at a time as are there. Raises what ended the pipeline: Refusal where the store
        failed, or the failure that `end` or `halt` was told.
        """
        while True:
            while not self._waiting and not self._ended:
                self._work.clear()
                await self._work.wait()
            if not self._waiting:
                break
            run = self._next_run()
            while run:
                yield await self._answers_of_first(run)
        if self._failure:
            raise self._failure

    async def _answers_of_first(self, run: deque[_Waiting]) -> list[Answer]:
        """Takes what could be answered off the run; at least one item."""
        answers: list[Answer] = []
        if isinstance(run[0].item, PreparedAppend):
            outcomes = await self._submit([w.item for w in run if isinstance(w.item, PreparedAppend)])
            while isinstance(outcomes[0], Undecided):
                run[0] = run[0]._replace(item=await self._look_up(run[0].item))
                outcomes = await self._submit([w.item for w in run if isinstance(w.item, PreparedAppend)])
            for outcome in outcomes:
                if isinstance(outcome, Undecided):
                    break
                _take_refused(run, answers)
                answers.append(Answer(run.popleft().correlation_id, outcome))
        _take_refused(run, answers)
        return answers

    def _next_run(self) -> deque[_Waiting]:
        run: deque[_Waiting] = deque()
        cost = 0
        while self._waiting and len(run) < MAX_RUN_APPENDS:
            first = self._waiting[0]
            if run and cost + first.cost > MAX_RUN_COST:
                break
            run.append(self._waiting.popleft())
            cost += first.cost
        self._count(-cost)
        return run

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._count(-self._cost)

    def _count(self, cost: int) -> None:
        self._cost += cost
        self._room.change(cost)
        if cost <= 0:
            self._freed.set()


def _cost(item: Item, size: int) -> int:
    if isinstance(item, Refusal):
        return _ITEM_COST + _EVENT_COST
    cost = size + _ITEM_COST + _EVENT_COST * len(item.events)
    if item.condition:
        cost += (_CONDITION_FACTOR - 1) * size + _ALTERNATIVE_COST * item.condition.query.alternatives
    return cost


def _take_refused(run: deque[_Waiting], answers: list[Answer]) -> None:
    while run and isinstance(refusal := run[0].item, Refusal):
        answers.append(Answer(run.popleft().correlation_id, refusal))
