"""Rounds in which PostgreSQL, or one of two servers on it, or both at once, are killed under load."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from tests.conformance.streams import Batch
from tests.postgres.cluster import Cluster
from tests.reliability.crash.mortal import MortalServer, Returning
from tests.reliability.load.excuses import SERVER_DIES
from tests.reliability.load.logs import log_in_schema
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial

ROUNDS_OF_A_LOG = 10


async def kill_databases(rounds: int, trial: Trial) -> Counter[str]:
    """Whoever had a connection finds out by itself, and nobody is restarted but what was killed."""
    figures: Counter[str] = Counter()
    with await asyncio.to_thread(Cluster.create) as cluster:
        for number in range(0, rounds, ROUNDS_OF_A_LOG):
            folder = trial.folder / f"log_{number}"
            folder.mkdir()
            round_ = Rounds(cluster, folder, trial.chance("kill a database", number))
            figures += await round_.run(min(ROUNDS_OF_A_LOG, rounds - number))
            trial.say(f"crash, PostgreSQL: {min(number + ROUNDS_OF_A_LOG, rounds)} of {rounds} rounds")
    return figures


class Rounds:
    """On one schema."""

    def __init__(self, cluster: Cluster, folder: Path, chance: Random) -> None:
        self._cluster = cluster
        self._schema = folder.name
        self._chance = chance
        # With a short wait appends are refused meanwhile, with the long one they wait.
        wait = chance.choice(("0.2", "10"))
        url = cluster.url(schema=self._schema)
        self._servers = [
            MortalServer(folder, url, "--unavailable-wait", wait, name=f"server-{n}") for n in range(2)
        ]
        self._killed: Counter[str] = Counter()

    async def run(self, rounds: int) -> Counter[str]:
        retried = 0
        async with AsyncExitStack() as stack:
            for server in self._servers:
                stack.callback(server.kill)
            await asyncio.gather(*(server.start() for server in self._servers))
            stores = [await stack.enter_async_context(Returning(server.address)) for server in self._servers]
            work = Workload(stores, SERVER_DIES, self._chance)
            stack.push_async_callback(work.abandon)
            work.begin()
            for _ in range(rounds):
                await work.made(self._chance.randint(5, 120))
                await asyncio.sleep(self._chance.random() * 0.01)
                await self._kill()
                # Read and held to the history in one step of the loop: what is answered later is not known yet.
                log = self._log()
                work.check_history(log)
                retried += await work.repeat_keys(2)
                await work.check_index(log)
            await work.end()
            log = await work.verdict(stores[0])
            assert await work.verdict(stores[1]) == log == self._log()
        return self._killed + Counter(
            {**work.figures(), "retries after a kill, answered as at first": retried}
        )

    async def _kill(self) -> None:
        """And start it again."""
        killed = self._chance.choice(("database", "database", "server", "both"))
        server = self._chance.choice(self._servers)
        if killed != "server":
            self._cluster.kill()
            self._killed["SIGKILLs of PostgreSQL"] += 1
        if killed != "database":
            server.kill()
            self._killed["SIGKILLs of a server, PostgreSQL"] += 1
        if killed != "server":
            await asyncio.to_thread(self._cluster.start)
        if killed != "database":
            await server.start()

    def _log(self) -> list[Batch]:
        with self._cluster.connect() as connection:
            return log_in_schema(connection, self._schema)
