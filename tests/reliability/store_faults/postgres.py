"""Servers on a PostgreSQL in which something goes wrong."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from tests.postgres.cluster import Cluster
from tests.reliability.load.excuses import STORE_FAILS, STORE_HAS_DEFECTS
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.reliability.store_faults.faulty_database import DEFECTS, KINDS, FaultyDatabase
from tests.reliability.store_faults.machine import Machine
from tests.reliability.store_faults.rounds import OF_A_LOG, Subject, Tally, try_rounds

_OF_LOGS: Final[Sequence[Sequence[str]]] = (KINDS, (*KINDS, DEFECTS, DEFECTS))
"""Kinds of trouble, in turn. Where no trouble is a defect, no answer may be INTERNAL."""


async def break_databases(
    rounds: int, trial: Trial, tally: Tally, of_logs: Sequence[Sequence[str]] = _OF_LOGS
) -> None:
    with await asyncio.to_thread(Cluster.create) as cluster:
        FaultyDatabase.prepare(cluster)
        for number in range(0, rounds, OF_A_LOG):
            count = min(OF_A_LOG, rounds - number)
            chance = trial.chance("database", number)
            async with FaultyDatabase.of(cluster, f"log_{number}", chance) as database:
                kinds = of_logs[number // OF_A_LOG % len(of_logs)]
                await _one_log(database, count, kinds, tally, chance)
            trial.say(f"store faults, PostgreSQL: {number + count} of {rounds} rounds")


async def _one_log(
    database: FaultyDatabase, rounds: int, kinds: Sequence[str], tally: Tally, chance: Random
) -> None:
    machines = [Machine(), Machine()]
    excused = STORE_HAS_DEFECTS if DEFECTS in kinds else STORE_FAILS
    subject = Subject("PostgreSQL itself", [machine.address for machine in machines], excused, database.log)

    async def trouble(_: Workload) -> None:
        await database.trouble(chance.choice(kinds), tally.counts)

    try:
        for machine in machines:
            await machine.start(database.url)
        await database.set_traps()
        await try_rounds(subject, rounds, trouble, tally, chance)
    finally:
        for machine in machines:
            await machine.stop()
