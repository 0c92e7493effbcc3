"""Appends: decisions on contexts that stay small, callers that do not wait, and pipelines that come and go."""

import asyncio
from random import Random
from typing import Final

from tests.histories.history import History
from tests.reliability.endurance.pace import Pace
from tests.reliability.load.pipelining import Pipeline
from tests.sharing.accounts import of_context, sent
from tests.sharing.servers import Remote
from tests.sharing.writing import Excused, Writer

FACTS_OF_A_DESK: Final = 20
"""A decision reads them all: contexts that grew with the log would make the load grow too."""

NOTHING: Final = Excused(frozenset(), frozenset())
"""Is excused: nothing is done to the server."""


class Desks:
    """The contexts of the moment, few enough to be contended. One that has its facts makes room for another."""

    def __init__(self, count: int) -> None:
        self._opened = count
        self._facts = dict.fromkeys(map(_desk, range(count)), 0)

    def any(self, chance: Random) -> str:
        return chance.choice(list(self._facts))

    def took(self, desk: str, facts: int) -> None:
        if desk in self._facts:
            self._facts[desk] += facts
            if self._facts[desk] >= FACTS_OF_A_DESK:
                del self._facts[desk]
                self._facts[_desk(self._opened)] = 0
                self._opened += 1


def _desk(number: int) -> str:
    return f"desk {number}"


class Decider(Writer):
    """Reads a desk, and appends what its version allows."""

    def __init__(self, name: str, store: Remote, history: History, seed: object, desks: Desks) -> None:
        super().__init__(name, store, history, seed, NOTHING)
        self.abandoned = 0
        """Appends whose caller left before the answer."""
        self._desks = desks

    async def work(self, pace: Pace, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await pace.wait()
            await self.decide()

    async def decide(self) -> None:
        desk = self._desks.any(self._chance)
        version = await self.query(desk)
        assert version is not None
        if self._chance.random() < 0.05:
            version = self._chance.randrange(version + 10)
        facts = self._facts(desk)
        self._desks.took(desk, len(facts))
        match self._chance.choices(("decide", "append", "without a key", "abandon"), (80, 8, 4, 8)):
            case ["decide"]:
                call = self._history.append_if(self.name, sent(facts), desk, version)
                await self._settle(call, facts, of_context(desk), version)
            case ["append"]:
                await self.append(facts)
            case ["without a key"]:
                await self._append_without_key(facts)
            case ["abandon"]:
                self._history.append(self.name, sent(facts))
                appending = asyncio.create_task(self._store.append(facts))
                # It may be queued, committed, or on its way back by then.
                await asyncio.wait((appending,), timeout=self._chance.random() * 0.01)
                appending.cancel()
                await asyncio.wait((appending,))
                self.abandoned += 1


async def come_and_go(pipeline: Pipeline, pace: Pace, ending: asyncio.Event, chance: Random) -> None:
    """Opens one stream after the other. Some end in order, some are cut off, and what these leave open is sent again
    on the next one.
    """
    while not ending.is_set():
        leaving = asyncio.Event()
        writing = asyncio.create_task(pipeline.write(leaving, pace))
        try:
            await asyncio.wait((writing,), timeout=chance.uniform(0.05, 0.6))
            if not writing.done() and chance.random() < 0.4:
                writing.cancel()
                await asyncio.wait((writing,))
            else:
                leaving.set()
                await writing
        finally:
            writing.cancel()
    leaving.set()
    await pipeline.write(leaving, pace)
