"""An upgrade to a format that today's servers do not know: from its migration on they leave the store to it.

The next version is today's, with one file of the schema more, which notes where the log ended.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import pytest

import factstr_server
from tests.conformance.driver import Driver, Failure
from tests.conformance.streams import Batch, eventually
from tests.copying.content import connected, rows_of, schema_of, select, terms_of
from tests.postgres.fresh import fresh_url
from tests.reliability.crash.mortal import MortalServer, Returning
from tests.reliability.load.excuses import SERVER_DIES
from tests.reliability.load.logs import log_in_schema
from tests.reliability.load.workload import Workload
from tests.sharing.accounts import content_of

_NEXT: Final = "CREATE TABLE {schema}.taken_over AS SELECT sequence_number FROM {schema}.head;"
_UNKNOWN: Final = "has format 3, written by a newer version; this one knows formats up to 2"


def environment_of_the_next(folder: Path) -> dict[str, str]:
    """Variables with which Python finds the next version before today's."""
    package = folder / "next" / "factstr_server"
    shutil.copytree(factstr_server.__path__[0], package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "stores" / "postgres" / "schema" / "0003_next.sql").write_text(_NEXT, encoding="utf-8")
    return {"PYTHONPATH": str(package.parent)}


async def take_over(folder: Path, chance: Random, commits: int, *, leases: bool = True) -> Counter[str]:
    """With about so many appends acknowledged before, while and after the next version takes the store. Leases that
    today's servers hold then last for 15 seconds.
    """
    url = fresh_url(folder)
    the_next = environment_of_the_next(folder)
    a, b = servers = [
        MortalServer(folder, url, "--unavailable-wait", "0.2", name=name) for name in ("a", "b")
    ]
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
        await a.start()
        stores = [await stack.enter_async_context(Returning(server.address)) for server in servers]
        work = Workload(stores, SERVER_DIES, chance, pipelines=2)
        if not leases:
            work.consumptions.clear()
        stack.push_async_callback(work.abandon)
        work.begin()
        await work.made(chance.randint(1, commits))
        await b.start(**the_next)
        await work.made(commits)
        await eventually(lambda: _reason(stores[0]), lambda reason: _UNKNOWN in reason)
        [(end,)] = select(url, "SELECT sequence_number FROM taken_over")
        _check_committed_by(1, _log(url), after=end)
        await a.stop()
        await a.start(**the_next)
        await work.made(commits)
        await work.end()
        log = await work.verdict(stores[0])
        assert await work.verdict(stores[1]) == log == _log(url)
        await a.stop()
        before = rows_of(url), terms_of(url)
        with pytest.raises(AssertionError, match=_UNKNOWN):
            await a.start()
        assert (rows_of(url), terms_of(url)) == before
    return Counter({"upgrades to a next format": 1}) + Counter(work.figures())


async def _reason(store: Driver) -> str:
    """Why a call is refused."""
    try:
        await store.head()
    except Failure as failure:
        return failure.message
    return ""


def _check_committed_by(server: int, log: Iterable[Batch], *, after: int) -> None:
    """Each client uses one server, which its number tells."""
    for batch in log:
        if batch.last > after:
            client, _, _ = content_of(batch.facts[0]).partition(", fact ")
            assert int(client.split()[-1]) % 2 == server, (
                f"facts {batch.first} to {batch.last}, after {after}, were committed for {client} by another server"
            )


def _log(url: str) -> list[Batch]:
    with connected(url) as connection:
        return log_in_schema(connection, schema_of(url))
