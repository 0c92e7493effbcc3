"""A small log and a large one in SQLite, served side by side: nothing may slow down with what is in the log.

The logs are filled through the store. Checked: both hold what they were filled with and what was acknowledged, every
answer its context, no conditional append conflicts, and of many idle streams the one that matches is woken.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

from benchmarks.comparison import ratios_of_medians
from benchmarks.connection import connected
from benchmarks.processes import factstr_server, sqlite_url
from benchmarks.results import Found, Result, Setting
from benchmarks.scenarios.context_query import ServedLog
from benchmarks.scenarios.filled_log import FilledLog
from benchmarks.scenarios.idle_streams import idle_streams
from benchmarks.scenarios.slowdown import CONTEXT_QUERY, bounded_memory, slowdown
from benchmarks.wanted import SCALE
from benchmarks.workers import filled

WANTED_SIZES = (100_000, 5_000_000)


async def run(setting: Setting) -> Result:
    result = Result("scale")
    sizes = setting.preset.scale.log_sizes
    async with AsyncExitStack() as stack:
        logs = [await _served(setting, size, stack, result) for size in sizes]
        samples = await slowdown(setting, logs, result)
        small, large = samples[CONTEXT_QUERY]
        instead = "" if sizes == WANTED_SIZES else f"measured at {sizes[1]:,} against {sizes[0]:,} facts"
        result.wanted[SCALE] = Found(ratios_of_medians(large, small), instead)
        for served in logs:
            checked = await served.log.ledger.check(served.connection)
            result.checks.append(f"log of {served.log.size:,}: {checked}")
            bounded_memory(served, result)
        await idle_streams(setting.preset.scale.idle_streams, logs[-1], result)
    return result


async def _served(setting: Setting, size: int, stack: AsyncExitStack, result: Result) -> ServedLog:
    database = setting.folder / f"scale-{size}.db"
    begin = perf_counter()
    await filled(sqlite_url(database), "single facts", size, setting.preset.contexts)
    rate = size / (perf_counter() - begin)
    log = FilledLog(setting.source, size, setting.preset.contexts)
    log.loaded()
    result.notes.append(
        f"SQLite, log of {size:,}: filled through the store with {rate:,.0f} facts/s; its file takes "
        f"{_bytes(database) / size:,.0f} bytes a fact, the {log.payload_bytes():,.0f} of its payload among them"
    )
    server = await stack.enter_async_context(factstr_server(database))
    return ServedLog(server, await stack.enter_async_context(connected(server.address)), log)


def _bytes(database: Path) -> int:
    """What is in the log of the next writes is none of the facts': it is empty once the store is closed."""
    return sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*"))
