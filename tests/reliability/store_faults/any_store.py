"""Servers on a store that fails in any call, whichever store it is."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.matrix import StoreKind
from tests.reliability.load.excuses import STORE_HAS_DEFECTS
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.reliability.store_faults.faulty_store import TIMES, FaultyStore
from tests.reliability.store_faults.machine import UNAVAILABLE_WAIT, Machine
from tests.reliability.store_faults.rounds import OF_A_LOG, Subject, Tally, try_rounds
from tests.waiting import until

_LONGEST_SECONDS: Final = 0.4


async def fail_calls(rounds: int, trial: Trial, tally: Tally, kind: StoreKind) -> None:
    for number in range(0, rounds, OF_A_LOG):
        folder = trial.folder / f"{kind.name}-{number}"
        folder.mkdir()
        count = min(OF_A_LOG, rounds - number)
        await _one_log(kind, folder, count, tally, trial.chance("calls", kind.name, number))
        trial.say(f"store faults, any call on {kind.name}: {number + count} of {rounds} rounds")


async def _one_log(kind: StoreKind, folder: Path, rounds: int, tally: Tally, chance: Random) -> None:
    machine = Machine()
    url = kind.url(folder)

    async def start() -> FaultyStore:
        inner = store_by_url(url, StoreOptions(unavailable_wait=UNAVAILABLE_WAIT))
        store = FaultyStore(inner, tally.counts, chance)
        await machine.start(url, store)
        return store

    store = await start()

    async def trouble(_: Workload) -> None:
        nonlocal store
        store.times = chance.choice(TIMES)
        enough = store.met + chance.choice((1, 3, 20, 100))
        with suppress(TimeoutError):
            await until(lambda: store.met >= enough, "calls fail", seconds=_LONGEST_SECONDS)
        if kind.persists and chance.random() < 0.3:
            # In the middle of it.
            await machine.stop()
            store = await start()
            tally.counts["stops in trouble"] += 1
        store.times = None

    try:
        subject = Subject(f"any call, {kind.name}", [machine.address], STORE_HAS_DEFECTS)
        await try_rounds(subject, rounds, trouble, tally, chance)
    finally:
        store.times = None
        await machine.stop()
