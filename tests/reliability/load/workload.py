"""All that works on a store while something is done to it, and the verdict on what came of it.

Writers that decide on contended contexts, pipelines, live streams from several positions, and durable streams with
rivals; each survives what it is excused for, and whatever else happens to it is raised by the next call here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import TypeVar

from tests.conformance.driver import Answer, Driver, Fact, Failure, Query
from tests.conformance.streams import Batch
from tests.conformance.wire import Wire
from tests.histories.history import History
from tests.histories.linearizability import problems
from tests.reliability.load.consuming import Consumption
from tests.reliability.load.following import SILENCE_SECONDS, Follower
from tests.reliability.load.pipelining import Pipeline
from tests.reliability.part import Figures
from tests.sharing.accounts import ACCOUNTS, SELECTIONS, accounts_of, logged, of_context
from tests.sharing.recording import whole_log
from tests.sharing.writing import TRY_AGAIN_SECONDS, Excused, Load, Writer, write_the_end
from tests.waiting import until

ENDING_SECONDS = 60.0
"""Without anything that goes on, when nothing is done to the server any more. More than a lease lasts."""

ANSWERING_SECONDS = 30.0
"""For a server that serves. More than a connection is tried again after."""

T = TypeVar("T")


class Workload:
    """On one log, from its first fact to the end. Begun once."""

    def __init__(
        self,
        stores: Sequence[Driver],
        excused: Excused,
        chance: Random,
        *,
        writers: int = 6,
        pipelines: int = 2,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.history = History()
        self._stores = stores
        self._excused = excused
        self._chance = chance
        self.load = Load(stores, writers, self.history, chance.random(), excused)
        reached = [store for store in stores if isinstance(store, Wire)]
        self.pipelines = [
            Pipeline(f"pipeline {n}", reached[n % len(reached)], self.history, excused, self._draws("p", n))
            for n in range(pipelines if reached else 0)
        ]
        self.followers = [
            Follower(stores, selection, after, excused, self._draws(selection.name, after), silence=silence)
            for selection, after in product(SELECTIONS, (0, None))
        ]
        self.consumptions = [
            Consumption(selection.name, selection, excused, self._draws(selection.name), silence=silence)
            for selection in SELECTIONS
        ]
        self._ending, self._going = asyncio.Event(), asyncio.Event()
        self._writing: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []

    def _draws(self, *names: object) -> Random:
        return Random(f"{self._chance.random()} {names}")

    def begin(self) -> None:
        self._going.set()
        self.load.begin()
        self._writing = [
            asyncio.create_task(each.write(self._ending, self._going), name=f"pipeline {n}")
            for n, each in enumerate(self.pipelines)
        ]
        # Two of a name, each at servers in an order of its own.
        rivals = (self._stores, self._stores[::-1])
        self._reading = [
            *(
                asyncio.create_task(each.follow(), name=f"live stream {n}")
                for n, each in enumerate(self.followers)
            ),
            *(asyncio.create_task(each.consume(rivals), name=each.name) for each in self.consumptions),
        ]

    async def made(self, commits: int) -> None:
        """Waits until so many more appends are acknowledged."""
        enough = self.committed + commits
        await until(lambda: self._fails() or self.committed >= enough, "appends are acknowledged", seconds=60)
        self.check()

    @property
    def committed(self) -> int:
        return self.load.committed + sum(len(each.acknowledged) for each in self.pipelines)

    def check(self) -> None:
        """Raises what has been raised by anything that works."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def _fails(self) -> bool:
        return any(task.done() and task.exception() for task in self._tasks)

    @property
    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self.load._tasks, *self._writing, *self._reading]

    async def end(self) -> None:
        """Ends when every outcome is known and every stream has come to the log's end."""
        ending = asyncio.create_task(self._end())
        try:
            done: set[asyncio.Task[None]] = set()
            position = None
            # On a slow machine a consumer may be far behind: as long as something goes on, it is waited for.
            while not done and position != self._position:
                position = self._position
                done, _ = await asyncio.wait((ending,), timeout=ENDING_SECONDS)
            if not done:
                unended = [task.get_name() for task in self._tasks if not task.done()]
                await self._check_unended()
                raise AssertionError(f"nothing went on for {ENDING_SECONDS} s: {', '.join(unended)}")
            await ending
        finally:
            ending.cancel()
            await self.abandon()

    async def _end(self) -> None:
        self._ending.set()
        await asyncio.gather(self.load.end(), *self._writing)
        await write_the_end(self._stores[0], self.history, self._excused)
        await asyncio.gather(*self._reading)

    @property
    def _position(self) -> tuple[int, ...]:
        """How far everybody has come."""
        return (
            self.committed,
            *(len(follower.batches) for follower in self.followers),
            *(consumption.answered for consumption in self.consumptions),
        )

    async def _check_unended(self) -> None:
        """Why it does not come to its end, if that can be seen in what there is."""
        log = await whole_log(self._stores[0])
        self.check_history(log)
        for consumption in self.consumptions:
            consumption.check(log)
            state = await self._stores[0].durable(consumption.name)
            assert consumption.ended or state.cursor < log[-1].last, (
                f"{consumption.name}: the cursor {state.cursor} is past the end, which nobody has acknowledged"
            )

    async def abandon(self) -> None:
        """Whatever it was doing. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def repeat_keys(self, most: int) -> int:
        """Sends some of the appends again that were acknowledged last, each until it is answered, which must be as
        then. The servers serve, or are about to. Gives the number of answers.
        """
        answers = 0
        for writer in self.load.writers:
            for answered in list(writer.answered)[-most:]:
                await _answered(partial(writer.repeat, answered), f"a retry of {answered}")
                answers += 1
        return answers

    async def check_index(self, log: Sequence[Batch]) -> None:
        """Holds queries to a log that may have grown since it was read. The servers serve, or are about to."""
        facts = [fact for batch in log for fact in batch.facts]
        store = self._chance.choice(self._stores)
        for selection in SELECTIONS:
            answer = await _answered(partial(self._query, store, selection.query), selection.name)
            known = [fact for fact in answer.facts if fact.sequence_number <= len(facts)]
            assert known == [*filter(selection.matches, facts)], f"index of {selection.name}"

    async def _query(self, store: Driver, query: Query) -> Answer | None:
        """None: it has failed as it may."""
        try:
            return await store.query(query)
        except Failure as failure:
            if not self._excused(failure):
                raise
            return None

    async def verdict(self, store: Driver) -> list[Batch]:
        """After the end: holds the log, its contexts, streams and cursors to all that was seen. Gives the log."""
        log = await whole_log(store)
        self.check_history(log)
        facts = [fact for batch in log for fact in batch.facts]
        check_acknowledged(self.load.writers, self.pipelines, facts)
        for selection in SELECTIONS:
            found = (await store.query(selection.query)).facts
            assert found == tuple(filter(selection.matches, facts)), f"index of {selection.name}"
        for account in ACCOUNTS:
            numbers = (await store.query(of_context(account))).numbers
            assert numbers == [fact.sequence_number for fact in facts if account in accounts_of(fact)], (
                f"index of {account}"
            )
        for follower in self.followers:
            follower.check(log)
        for consumption in self.consumptions:
            consumption.check(log)
            state = await store.durable(consumption.name)
            assert state.cursor == log[-1].last, f"{consumption.name}: {state}"
        return log

    def check_history(self, log: Sequence[Batch]) -> None:
        """Everything that was told agrees with the log, whatever is still open."""
        found = problems(self.history, logged(log))
        assert not found, "\n".join(found[:20])

    def figures(self) -> Figures:
        return {
            "appends sent": len(self.history.appends),
            "appends acknowledged": self.committed,
            "conflicts": sum(writer.conflicts for writer in self.load.writers),
            "outcomes unknown, then settled": sum(writer.unknown for writer in self.load.writers),
            "queries": len(self.history.queries),
            "live streams opened": sum(each.openings for each in self.followers),
            "leases": sum(len(each.leases) for each in self.consumptions),
            "acknowledgements refused": sum(each.refused for each in self.consumptions),
        }


async def _answered(ask: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Asks until there is an answer. A failure that is excused is none: right after a kill a connection fails at once,
    without a call.
    """
    try:
        async with asyncio.timeout(ANSWERING_SECONDS):
            while True:
                if answer := await ask():
                    return answer
                await asyncio.sleep(TRY_AGAIN_SECONDS)
    except TimeoutError:
        raise AssertionError(f"no answer within {ANSWERING_SECONDS} s to {what}") from None


def check_acknowledged(
    writers: Sequence[Writer], pipelines: Sequence[Pipeline], facts: Sequence[Fact]
) -> None:
    """What was sent is there to the last byte, where and when its answer said. The facts are the whole log's."""
    for answer, sent in (
        *((each.answer, each.facts) for writer in writers for each in writer.answered),
        *(each for pipeline in pipelines for each in pipeline.acknowledged),
    ):
        there = facts[answer.first - 1 : answer.last]
        assert [fact.appended for fact in there] == list(sent), f"{answer} is {there}"
        assert {fact.occurred_at for fact in there} == {answer.occurred_at}
