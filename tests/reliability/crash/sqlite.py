"""Rounds in which a server on SQLite is killed under load, and its file is looked at before anybody opens it again."""

import asyncio
import shutil
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from factstr_server.stores.sqlite.verifying import verify_file
from tests.conformance.streams import Batch
from tests.reliability.crash.mortal import MortalServer, Returning
from tests.reliability.load.excuses import SERVER_DIES
from tests.reliability.load.logs import log_in_file
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.stores.opened import url_of

ROUNDS_OF_A_LOG = 10
"""Then a new one begins, so that looking at it stays cheap."""

AGAIN_AT_ONCE = 0.2
"""So often it is killed once more, while it recovers and starts."""


async def kill_servers(rounds: int, trial: Trial) -> Counter[str]:
    figures: Counter[str] = Counter()
    for number in range(0, rounds, ROUNDS_OF_A_LOG):
        folder = trial.folder / f"log-{number}"
        folder.mkdir()
        figures += await _one_log(min(ROUNDS_OF_A_LOG, rounds - number), folder, trial.chance("kill", number))
        trial.say(f"crash, SQLite: {figures['SIGKILLs of the server, SQLite']} of {rounds} rounds")
    return figures


async def _one_log(rounds: int, folder: Path, chance: Random) -> Counter[str]:
    database = folder / "facts.db"
    retried, killed_at_start = 0, 1
    async with AsyncExitStack() as stack:
        server = MortalServer(folder, url_of(database))
        stack.callback(server.kill)
        # It makes the file and its tables.
        await server.start_in_vain(chance.random())
        await server.start()
        store = await stack.enter_async_context(Returning(server.address))
        work = Workload([store], SERVER_DIES, chance)
        stack.push_async_callback(work.abandon)
        work.begin()
        for _ in range(rounds):
            await work.made(chance.randint(5, 120))
            # Anywhere between two commits, or in the middle of one.
            await asyncio.sleep(chance.random() * 0.01)
            server.kill()
            work.check_history(look_at(database))
            if chance.random() < AGAIN_AT_ONCE:
                await server.start_in_vain(chance.random() / 2)
                killed_at_start += 1
                work.check_history(look_at(database))
            await server.start()
            retried += await work.repeat_keys(3)
        await work.end()
        log = await work.verdict(store)
        await server.stop()
        assert look_at(database) == log
    return Counter(
        {
            "SIGKILLs of the server, SQLite": rounds,
            "SIGKILLs of the server as it starts, SQLite": killed_at_start,
            **work.figures(),
            "retries after a kill, answered as at first": retried,
        }
    )


def look_at(database: Path) -> list[Batch]:
    """The log in a copy of what a killed server has left, so that its successor finds it as it was left. All that
    stands in the file agrees: index, records, batches, keys, durable streams.
    """
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        for file in database.parent.glob(f"{database.name}*"):
            shutil.copy(file, folder)
        copy = Path(folder) / database.name
        log = log_in_file(copy)
        found = verify_file(copy, lambda *_: None)
        assert not found.findings, "\n".join(found.findings)
    return log
