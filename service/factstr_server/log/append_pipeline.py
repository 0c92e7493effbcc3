"""Pipelined appends: what one caller has sent and is not answered yet, committed and answered in its order.

States of an item: waiting -> in the run under way -> answered. One task puts, another one takes the answers.

Invariants:
- At most one run of a pipeline is with the committer, and the next one begins after its answers: nothing that was sent
  after a failed item is tried before somebody knows of the failure.
- Answers come in the order of the items, those that were refused before they could wait among them.
- A failure of the store ends the pipeline after the answers to everything before it.
- What waits is bounded for one pipeline and for all of them: whoever puts waits for room first, and may then go beyond
  it by one message.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Refusal
from factstr_server.stores.protocol import AppendOutcome, Undecided

MAX_RUN_APPENDS: Final = 1_024
MAX_RUN_BYTES: Final = 1024 * 1024
"""So that a few pipelines fit into one group. A single append may be larger."""

MAX_WAITING_APPENDS: Final = 4_096
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Of one pipeline; beyond it nothing more is read from its caller."""

MAX_ALL_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Of all pipelines."""

_APPEND_OVERHEAD_BYTES: Final = 1_024
"""What an append that waits takes beside its events."""

Item: TypeAlias = PreparedAppend | Refusal
"""An append, or why there is none."""


class Answer(NamedTuple):
    """What became of an item."""

    correlation_id: int
    outcome: AppendOutcome | Refusal


class _Waiting(NamedTuple):
    correlation_id: int
    item: Item

    @property
    def size(self) -> int:
        return self.item.size if isinstance(self.item, PreparedAppend) else 0

    @property
    def cost(self) -> int:
        return self.size + _APPEND_OVERHEAD_BYTES


class Room:
    """What may wait in all pipelines together."""

    def __init__(self) -> None:
        self.used = 0
        self._freed = asyncio.Event()

    async def wait(self, *, while_full: Callable[[], bool]) -> None:
        """Until there is room here and in what the caller asks of."""
        while self.used >= MAX_ALL_WAITING_BYTES or while_full():
            self._freed.clear()
            await self._freed.wait()

    def change(self, cost: int) -> None:
        self.used += cost
        if cost <= 0:
            self._freed.set()


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
        self._work = asyncio.Event()
        self._ended = False
        self._failure: Exception | None = None

    async def room(self) -> None:
        """Waits until more may be put."""
        await self._room.wait(while_full=self._is_full)

    def put(self, correlation_id: int, item: Item) -> None:
        """What comes after the end is dropped: nobody would answer it."""
        if not self._ended:
            waiting = _Waiting(correlation_id, item)
            self._waiting.append(waiting)
            self._count(waiting.cost)
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
        size = cost = 0
        while self._waiting and len(run) < MAX_RUN_APPENDS:
            first = self._waiting[0]
            size += first.size
            if run and size > MAX_RUN_BYTES:
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

    def _is_full(self) -> bool:
        full = len(self._waiting) >= MAX_WAITING_APPENDS or self._cost >= MAX_WAITING_BYTES
        return full and not self._ended


def _take_refused(run: deque[_Waiting], answers: list[Answer]) -> None:
    while run and isinstance(refusal := run[0].item, Refusal):
        answers.append(Answer(run.popleft().correlation_id, refusal))
