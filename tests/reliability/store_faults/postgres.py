"""Servers on a PostgreSQL in which something goes wrong."""

import asyncio
from random import Random

from tests.conformance.streams import Batch
from tests.postgres.cluster import Cluster
from tests.reliability.load.excuses import STORE_HAS_DEFECTS
from tests.reliability.load.logs import log_in_schema
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.reliability.store_faults.faulty_database import FaultyDatabase
from tests.reliability.store_faults.machine import Machine
from tests.reliability.store_faults.rounds import OF_A_LOG, Subject, Tally, try_rounds


async def break_databases(rounds: int, trial: Trial, tally: Tally) -> None:
    with await asyncio.to_thread(Cluster.create) as cluster:
        FaultyDatabase.prepare(cluster)
        for number in range(0, rounds, OF_A_LOG):
            count = min(OF_A_LOG, rounds - number)
            await _one_log(cluster, f"log_{number}", count, tally, trial.chance("database", number))
            trial.say(f"store faults, PostgreSQL: {number + count} of {rounds} rounds")


async def _one_log(cluster: Cluster, schema: str, rounds: int, tally: Tally, chance: Random) -> None:
    machines = [Machine(), Machine()]

    def look() -> list[Batch]:
        # In one step of the loop: what is answered later is not known yet.
        with cluster.connect() as connection:
            return log_in_schema(connection, schema)

    async with FaultyDatabase.of(cluster, schema, chance) as database:

        async def trouble(_: Workload) -> None:
            await database.trouble(tally.counts)

        try:
            for machine in machines:
                await machine.start(database.url)
            await database.set_traps()
            addresses = [machine.address for machine in machines]
            subject = Subject("PostgreSQL itself", addresses, STORE_HAS_DEFECTS, look)
            await try_rounds(subject, rounds, trouble, tally, chance)
        finally:
            for machine in machines:
                await machine.stop()
