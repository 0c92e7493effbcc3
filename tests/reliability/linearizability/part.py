"""Linearizability: histories of contended decisions and queries, through two servers at once, held to the exact checker
of `tests/histories`, which is itself held to an exhaustive search and to mutated histories there.

PostgreSQL has two servers in processes of their own; SQLite one, with the same clients, whose appends share groups.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.histories.history import History
from tests.histories.linearizability import problems
from tests.postgres.fresh import fresh_url
from tests.reliability.part import Figures, Part, Trial
from tests.sharing.accounts import logged
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote, server_processes
from tests.sharing.writing import Load
from tests.stores.opened import url_of

WRITERS = 16


class Size(NamedTuple):
    """Histories of each store, and appends acknowledged in each history."""

    histories: int
    appends: int


SIZES = {"quick": Size(1, 200), "nightly": Size(15, 1_000), "full": Size(30, 1_000)}


async def run(size: Size, trial: Trial) -> Figures:
    figures: Counter[str] = Counter()
    for number in range(size.histories):
        for store in ("PostgreSQL", "SQLite"):
            folder = trial.folder / f"{store}-{number}"
            folder.mkdir()
            url = fresh_url(folder) if store == "PostgreSQL" else url_of(folder / "facts.db")
            servers = 2 if store == "PostgreSQL" else 1
            figures[f"histories, {store}, servers: {servers}"] += 1
            figures += await checked_history(url, folder, servers, size.appends, trial.chance(store, number))
        trial.say(f"linearizability: {number + 1} of {size.histories} histories of each store")
    return dict(figures)


async def checked_history(url: str, folder: Path, servers: int, appends: int, chance: Random) -> Counter[str]:
    history = History()
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(server_processes(url, folder, servers))
        addresses = [await asyncio.to_thread(process.address) for process in processes]
        stores = [await stack.enter_async_context(Remote(address)) for address in addresses]
        load = Load(stores, WRITERS, history, chance.random())
        load.begin()
        await load.made(appends // servers, seconds=300)
        await load.end()
        logs = [await whole_log(store) for store in stores]
        for process in processes:
            process.stop()
    assert all(log == logs[0] for log in logs)
    found = problems(history, logged(logs[0]))
    assert not found, "\n".join(found[:20])
    conflicts = sum(writer.conflicts for writer in load.writers)
    assert conflicts > appends / 20, f"contexts were hardly contended: {load}"
    return Counter({"appends": len(history.appends), "conflicts": conflicts, "queries": len(history.queries)})


PART = Part("linearizability", "Linearizable decisions and queries", SIZES, run)
