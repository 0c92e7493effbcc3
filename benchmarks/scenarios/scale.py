"""A small log and a large one in SQLite, served side by side: nothing may slow down with what is in the log.

The logs are filled through the store. Checked: both hold what they were filled with and what was acknowledged, every
answer its context, no conditional append conflicts, and of many idle streams the one that matches is woken.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.comparison import ratios_of_medians
from benchmarks.connection import connected
from benchmarks.processes import factstr_server, sqlite_url
from benchmarks.results import Found, Result, Setting
from benchmarks.scenarios.context_query import ServedLog
from benchmarks.scenarios.filled_log import FilledLog
from benchmarks.scenarios.idle_streams import idle_streams, memory_of_idle_streams
from benchmarks.scenarios.slowdown import CONTEXT_QUERY, bounded_memory, slowdown
from benchmarks.wanted import SCALE
from benchmarks.workers import filled

WANTED_SIZES = (100_000, 5_000_000)


async def run(setting: Setting) -> Result:
    result = Result("scale")
    sizes, streams = setting.preset.scale.log_sizes, setting.preset.scale.idle_streams
    logs = [await _filled(setting, size, result) for size in sizes]
    large = logs[-1]
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(_served(setting, log)) for log in logs]
        samples = await slowdown(setting, served, result)
        instead = "" if sizes == WANTED_SIZES else f"measured at {sizes[1]:,} against {sizes[0]:,} facts"
        slow, quick = reversed(samples[CONTEXT_QUERY])
        result.wanted[SCALE] = Found(ratios_of_medians(slow, quick), instead)
        for each in served:
            checked = await each.log.ledger.check(each.connection)
            result.checks.append(f"log of {each.log.size:,}: {checked}")
        busy = await idle_streams(streams, served[-1], "after all that is measured above", result)
        for each in served:
            bounded_memory(each, result)
    # What a server has freed it may use again: then the streams would seem to cost less than they do.
    async with _served(setting, large) as fresh:
        rows = [await idle_streams(streams, fresh, "just started", result), busy]
    memory_of_idle_streams(streams, large, rows, result)
    return result


async def _filled(setting: Setting, size: int, result: Result) -> FilledLog:
    database = _database(setting, size)
    begin = perf_counter()
    await filled(sqlite_url(database), "single facts", size, setting.preset.contexts)
    rate = size / (perf_counter() - begin)
    log = FilledLog(setting.source, size, setting.preset.contexts)
    log.loaded()
    result.notes.append(
        f"SQLite, log of {size:,}: filled through the store with {rate:,.0f} facts/s; its file takes "
        f"{_bytes(database) / size:,.0f} bytes a fact, the {log.payload_bytes():,.0f} of its payload among them"
    )
    return log


@asynccontextmanager
async def _served(setting: Setting, log: FilledLog) -> AsyncIterator[ServedLog]:
    async with (
        factstr_server(_database(setting, log.size)) as server,
        connected(server.address) as connection,
    ):
        yield ServedLog(server, connection, log)


def _database(setting: Setting, size: int) -> Path:
    return setting.folder / f"scale-{size}.db"


def _bytes(database: Path) -> int:
    """What is in the log of the next writes is none of the facts': it is empty once the store is closed."""
    return sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*"))
