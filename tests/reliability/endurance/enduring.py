"""One store under load for a while: what its server holds before, meanwhile and after, and the verdict on all of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from psycopg import AsyncConnection

from factstr_server.stores.sqlite.verifying import verify_file
from tests.fuzzing.watching import SETTLING_SECONDS, Watched, of_defects
from tests.postgres.cluster import Cluster
from tests.reliability.endurance.bookkeeping import Bookkeeping, PostgresTables, Row, SqliteFiles
from tests.reliability.endurance.flatness import grown, growth_mib, kept
from tests.reliability.endurance.mix import Mix
from tests.reliability.endurance.sampling import STREAMS, Look, Sampler, write_samples
from tests.reliability.part import Figures, Trial
from tests.sharing.servers import Remote
from tests.stores.opened import url_of


class Size(NamedTuple):
    """In seconds."""

    warm_up: float
    """Before the first look at what the server holds."""
    load: float
    apart: float
    """Two samples."""
    turns_per_second: float = 130.0
    """Of all that call the server. It is about what two cores can do for both stores at once."""


class Subject(NamedTuple):
    watched: Watched
    bookkeeping: Bookkeeping


Opened = Callable[[Path], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Subject]:
    database = folder / "facts.db"
    async with _watched(folder, url_of(database)) as watched:
        yield Subject(watched, SqliteFiles(database, watched.process.pid))
    found = await asyncio.to_thread(verify_file, database, lambda *_: None)
    assert not found.findings, "\n".join(found.findings)


@asynccontextmanager
async def postgresql(folder: Path) -> AsyncIterator[Subject]:
    """In a cluster of its own, so that nobody else's statistics are among those looked at."""
    schema, application = "endurance", "factstr-endurance"
    with await asyncio.to_thread(Cluster.create) as cluster:
        url = f"{cluster.url(schema=schema)}&application_name={application}"
        async with (
            _watched(folder, url) as watched,
            await AsyncConnection.connect(cluster.url(), autocommit=True) as connection,
        ):
            yield Subject(watched, PostgresTables(connection, schema, application))


@asynccontextmanager
async def _watched(folder: Path, url: str) -> AsyncIterator[Watched]:
    """It must end in order, with nothing in its log that tells of a defect."""
    watched = Watched(folder, url)
    try:
        await asyncio.to_thread(watched.process.address)
        yield watched
        await asyncio.to_thread(watched.process.stop)
    finally:
        watched.process.kill()
    assert not of_defects(watched.process.said), of_defects(watched.process.said)[:20]


STORES: Final[Mapping[str, Opened]] = {"SQLite": sqlite, "PostgreSQL": postgresql}


async def endure(name: str, size: Size, trial: Trial) -> Figures:
    """Raises AssertionError where anything grows, or is lost, repeated or wrong."""
    folder = trial.folder / name
    folder.mkdir()
    async with STORES[name](folder) as subject:
        address = subject.watched.process.address()
        sampler = Sampler(*subject, lambda said: trial.say(f"endurance, {name}: {said}"))
        async with Remote(address) as store, Remote(address) as rival:
            mix = Mix(store, rival, trial.chance("mix", name), size.turns_per_second)
            await mix.fill()
            await mix.go(size.warm_up)
            before = await sampler.quiet()
            async with sampler.sampling(size.apart):
                await mix.go(size.load)
            await mix.end()
            after = await _given_back(sampler, before)
            write_samples(sampler.rows, folder / "samples.csv")
            if trial.plots:
                _draw(sampler.rows, name, trial.plots)
            problems = [*grown(sampler.rows, before.row), *kept(before, after)]
            assert not problems, f"{name}: {'; '.join(problems)}"
            await mix.verdict()
    return {**_of_calls(before, after), **mix.figures(), **_of_flatness(sampler.rows, before, after)}


async def _given_back(sampler: Sampler, before: Look) -> Look:
    """All that was open; at the latest after a while, whatever there is then."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLING_SECONDS
    while True:
        after = await sampler.quiet()
        if not [*kept(before, after)] or loop.time() > end:
            return after
        await asyncio.sleep(0.5)


def _draw(rows: Sequence[Row], name: str, folder: Path) -> None:
    # Only here, because it needs what nothing else in a server's tests does.
    from tests.reliability.endurance.plots import draw

    calls = rows[-1]["calls"] - rows[0]["calls"]
    title = f"{name}, {rows[-1]['seconds'] / 60:.0f} minutes of mixed load: {calls:,.0f} calls"
    draw(rows, title, folder / f"endurance-{name.lower()}.png")


def _of_calls(before: Look, after: Look) -> Figures:
    calls = {name: number - before.calls[name] for name, number in after.calls.items()}
    shown = ("Append", "AppendIf", *STREAMS, "AcknowledgeDurable")
    return {
        "calls": sum(calls.values()),
        **{f"of {name}": calls[name] for name in shown},
        "streams opened": sum(calls[name] for name in STREAMS),
    }


def _of_flatness(rows: Sequence[Row], before: Look, after: Look) -> Figures:
    more = {name: round(after.row[name] - before.row[name]) for name in ("tasks", "descriptors")}
    most = {
        name: round(max(row[name] for row in rows), 1)
        for name in ("memory MiB", "WAL MiB", "bookkeeping MiB")
        if name in rows[0]
    }
    return {
        "seconds": round(rows[-1]["seconds"]),
        "growth of memory, MiB": round(growth_mib(rows), 1),
        **{f"{name} more than at the start": value for name, value in more.items()},
        **{f"most {name}": value for name, value in most.items()},
    }
