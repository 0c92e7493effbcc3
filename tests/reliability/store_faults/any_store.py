"""Servers on a store that fails in any call, whichever store it is."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.matrix import StoreKind
from tests.reliability.load.excuses import STORE_HAS_DEFECTS
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.reliability.store_faults.faulty_store import TIMES, FaultyStore, Times
from tests.reliability.store_faults.machine import UNAVAILABLE_WAIT, Machine
from tests.reliability.store_faults.rounds import OF_A_LOG, Subject, Tally, try_rounds


async def fail_calls(
    rounds: int, trial: Trial, tally: Tally, kind: StoreKind, times: Sequence[Times] = TIMES
) -> None:
    for number in range(0, rounds, OF_A_LOG):
        folder = trial.folder / f"{kind.name}-{number}"
        folder.mkdir()
        count = min(OF_A_LOG, rounds - number)
        log = _Log(kind, folder, times, tally, trial.chance("calls", kind.name, number))
        await log.run(count)
        trial.say(f"store faults, any call on {kind.name}: {number + count} of {rounds} rounds")


class _Log:
    """A server on a store of one kind, in a folder."""

    def __init__(
        self, kind: StoreKind, folder: Path, times: Sequence[Times], tally: Tally, chance: Random
    ) -> None:
        self._kind = kind
        self._url = kind.url(folder)
        self._times = times
        self._tally = tally
        self._chance = chance
        self._machine = Machine()
        self._store: FaultyStore

    async def run(self, rounds: int) -> None:
        await self._start()
        subject = Subject(f"any call, {self._kind.name}", [self._machine.address], STORE_HAS_DEFECTS)
        try:
            await try_rounds(subject, rounds, self._trouble, self._tally, self._chance)
        finally:
            self._store.times = None
            await self._machine.stop()

    async def _start(self) -> None:
        inner = store_by_url(self._url, StoreOptions(unavailable_wait=UNAVAILABLE_WAIT))
        self._store = FaultyStore(inner, self._tally.counts, self._chance)
        await self._machine.start(self._url, self._store)

    async def _trouble(self, _: Workload) -> None:
        self._store.times = times = self._chance.choice(self._times)
        await asyncio.sleep(self._chance.random() * times.seconds)
        if self._kind.persists and self._chance.random() < 0.3:
            # In the middle of it.
            await self._machine.stop()
            await self._start()
            self._tally.counts["stops in trouble"] += 1
        self._store.times = None
