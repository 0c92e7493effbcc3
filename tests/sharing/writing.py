"""Writers of append_if on contended contexts, whose calls are recorded as a history.

Each reads a context, decides, and appends under a key. What fails without an answer is sent again with its key until
its outcome is known, as a client would do it; so a history says of every append what came of it. Only an append without
a key whose outcome was not told stays open in the history.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.conformance.driver import Appended, Driver, Failure, NewFact, Query
from tests.histories.history import AppendCall, Committed, Conflict, Failed, History, Seen
from tests.sharing.accounts import ACCOUNTS, TYPES, new_fact, of_context, sent, the_end
from tests.waiting import until

TRY_AGAIN_SECONDS: Final = 0.05
_REMEMBERED: Final = 1_000


class Excused(NamedTuple):
    """Failures that may be: the call is tried again. Any other failure is the test's. "" is a status without reason."""

    nothing_happened: frozenset[str]
    """They promise it."""
    unknown: frozenset[str]
    """They promise nothing."""

    def __call__(self, failure: Failure) -> bool:
        return failure.reason in self.nothing_happened | self.unknown


STORE_AWAY: Final = Excused(
    frozenset({"STORE_UNAVAILABLE", "SERVER_BUSY"}), frozenset({"APPEND_OUTCOME_UNKNOWN"})
)
"""What a server may say whose store does not answer."""


class Answered(NamedTuple):
    """An append under a key, and its first answer."""

    facts: Sequence[NewFact]
    context: Query | None
    """None: without a condition."""
    expected: int | None
    key: str
    answer: Appended


class Writer:
    """One client, which uses one server for all that it does."""

    def __init__(
        self, name: str, store: Driver, history: History, seed: object, excused: Excused = STORE_AWAY
    ) -> None:
        self.name = name
        self.committed = 0
        self.conflicts = 0
        self.unavailable = 0
        """Answers that the store did not answer."""
        self.unknown = 0
        """Answers that did not tell what had become of an append."""
        self.answered: deque[Answered] = deque(maxlen=_REMEMBERED)
        """The latest."""
        self._store = store
        self._excused = excused
        self._history = history
        self._chance = random.Random(f"{seed} {name}")
        self._sent = 0

    async def decide(self) -> None:
        """Reads a context, appends what its version allows, and now and then looks at another one."""
        # Some contexts are more contended than others.
        account = ACCOUNTS[int(len(ACCOUNTS) * self._chance.random() ** 2)]
        version = await self.query(account)
        if version is None:
            return
        if self._chance.random() < 0.1:
            await self.append(self._facts(account))
        if self._chance.random() < 0.05:
            await self._append_without_key(self._facts(account))
        if self._chance.random() < 0.05:
            version = self._chance.randrange(version + 10)
        facts = self._facts(account)
        call = self._history.append_if(self.name, sent(facts), account, version)
        await self._settle(call, facts, of_context(account), version)
        if self._chance.random() < 0.1:
            await self.query(self._chance.choice((None, *ACCOUNTS)))

    async def append(self, facts: Sequence[NewFact]) -> None:
        await self._settle(self._history.append(self.name, sent(facts)), facts, None, None)

    async def _append_without_key(self, facts: Sequence[NewFact]) -> None:
        call = self._history.append(self.name, sent(facts))
        try:
            answer = await self._store.append(facts)
        except Failure as failure:
            self._check_excused(failure)
            if failure.reason in self._excused.nothing_happened:
                call.finish(Failed(failure.reason))
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            self.committed += 1
            call.finish(Committed(answer.first, answer.last, answer.occurred_at))

    async def query(self, context: str | None) -> int | None:
        """The version of a context, 0 where it has no facts; None where the store did not answer."""
        call = self._history.query(self.name, context)
        try:
            answer = await self._store.query(of_context(context))
        except Failure as failure:
            self._check_excused(failure)
            await asyncio.sleep(TRY_AGAIN_SECONDS)
            return None
        call.finish(Seen(answer.context_version, answer.numbers))
        return answer.context_version or 0

    def _facts(self, account: str) -> list[NewFact]:
        """One to three facts, the first of the account; the others may be of others too, or of none."""
        facts = []
        for place in range(self._chance.choice((1, 1, 1, 2, 3))):
            others = self._chance.sample(ACCOUNTS, self._chance.choice((0, 0, 1, 2)))
            accounts = {account, *others} if place == 0 else {*others}
            content = f"{self.name}, fact {self._sent}"
            # Some fill several pages of a file.
            padding = 30_000 if self._chance.random() < 0.01 else 0
            facts.append(new_fact(self._chance.choice(TYPES), content, accounts, padding=padding))
            self._sent += 1
        return facts

    async def _settle(
        self, call: AppendCall, facts: Sequence[NewFact], context: Query | None, expected: int | None
    ) -> None:
        """Sends an append until it is known what came of it."""
        key = f"{self.name}, append {call.number}"
        certain = True
        while True:
            try:
                answer = await self._send(facts, context, expected, key)
            except Failure as failure:
                if failure.reason == "CONDITIONAL_APPEND_CONFLICT":
                    call.finish(Conflict(failure.actual))
                    self.conflicts += 1
                    return
                self._check_excused(failure)
                certain = certain and failure.reason in self._excused.nothing_happened
                if certain and self._chance.random() < 0.3:
                    call.finish(Failed(failure.reason))
                    return
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                assert not (certain and answer.repeated), f"{answer} to {key}, of which nothing was committed"
                call.finish(Committed(answer.first, answer.last, answer.occurred_at))
                self.committed += 1
                self.answered.append(Answered(facts, context, expected, key, answer))
                if self._chance.random() < 0.1:
                    await self.repeat(self._chance.choice(self.answered))
                return

    async def repeat(self, before: Answered) -> bool:
        """The same request again is the same answer again, whatever has happened since. Gives whether there was one."""
        try:
            again = await self._send(before.facts, before.context, before.expected, before.key)
        except Failure as failure:
            if failure.reason == "CONDITIONAL_APPEND_CONFLICT":
                raise AssertionError(f"{failure} to {before}") from failure
            # It shares the fate of those that it would have been committed with.
            self._check_excused(failure)
            return False
        assert again == before.answer.as_repeat, f"{again} to {before}"
        return True

    async def _send(
        self, facts: Sequence[NewFact], context: Query | None, expected: int | None, key: str
    ) -> Appended:
        if context is None:
            return await self._store.append(facts, key=key)
        return await self._store.append_if(facts, context, expected, key=key)

    def _check_excused(self, failure: Failure) -> None:
        if not self._excused(failure):
            raise failure
        if failure.reason in self._excused.unknown:
            self.unknown += 1
        else:
            self.unavailable += 1


class Load:
    """Writers that go on until they are told to end, spread evenly over servers."""

    def __init__(
        self,
        stores: Sequence[Driver],
        count: int,
        history: History,
        seed: object,
        excused: Excused = STORE_AWAY,
    ) -> None:
        self.writers = [
            Writer(f"writer {number}", stores[number % len(stores)], history, seed, excused)
            for number in range(count)
        ]
        self._servers = len(stores)
        self._going = asyncio.Event()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._going.set()
        self._tasks = [
            asyncio.create_task(self._write(writer), name=f"writer {n}")
            for n, writer in enumerate(self.writers)
        ]

    def pause(self) -> None:
        """What is under way goes on."""
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    async def end(self) -> None:
        """Returns when all outcomes are known. Raises what a writer has raised."""
        self._ending = True
        self._going.set()
        await asyncio.gather(*self._tasks)

    @property
    def committed(self) -> int:
        return sum(writer.committed for writer in self.writers)

    @property
    def unavailable(self) -> int:
        return sum(writer.unavailable for writer in self.writers)

    async def refused(self) -> None:
        """Waits until one more call is told that the store does not answer."""
        known = self.unavailable
        await until(lambda: self.unavailable > known, "the store is told to be away")

    async def made(self, commits: int, *, seconds: float = 30) -> None:
        """Waits until so many more have been committed through each server."""
        before = [writer.committed for writer in self.writers]

        def enough() -> bool:
            if failed := [task for task in self._tasks if task.done()]:
                failed[0].result()
            more = [writer.committed - known for writer, known in zip(self.writers, before, strict=True)]
            return all(sum(more[server :: self._servers]) >= commits for server in range(self._servers))

        await until(enough, "appends are committed through all servers", seconds=seconds)

    async def _write(self, writer: Writer) -> None:
        while not self._ending:
            await writer.decide()
            await self._going.wait()

    def __str__(self) -> str:
        counts = ("committed", "conflicts", "unavailable", "unknown")
        return ", ".join(f"{sum(getattr(each, count) for each in self.writers)} {count}" for count in counts)


async def write_the_end(store: Driver, history: History, excused: Excused = STORE_AWAY) -> None:
    """When all other appends are done."""
    await Writer("last writer", store, history, 0, excused).append(the_end())
