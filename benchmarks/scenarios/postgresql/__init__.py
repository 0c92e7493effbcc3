"""FACTSTR on PostgreSQL, beside the least that the same database allows.

Appends beside plain INSERTs and COPY; ten servers on one schema; what is looked up and replayed in large logs. Checked
as everywhere: each log holds exactly what was acknowledged, and every answer what it should.
"""

from dataclasses import replace

from benchmarks.postgres import database
from benchmarks.results import Result, Setting
from benchmarks.scenarios.idle_streams import idle_streams, memory_of_idle_streams
from benchmarks.scenarios.postgresql import appends, lookups, many_servers, replays
from benchmarks.scenarios.postgresql.large_logs import large_logs
from benchmarks.scenarios.slowdown import bounded_memory, slowdown

__all__ = ["run"]


async def run(setting: Setting) -> Result:
    """Raises Skipped."""
    result = Result("postgresql")
    # All that is wanted (`benchmarks.wanted`) is of SQLite.
    setting = setting._replace(preset=replace(setting.preset, rounds=setting.preset.other_rounds))
    async with database() as place:
        result.notes.append(place.described())
        if not place.durable:
            result.notes.append("this server is NOT durable: its figures say nothing of one that is")
        await appends.measure(setting, place, result)
        await many_servers.measure(setting, place, result)
        if not setting.source.has_common_member:
            result.notes.append(
                f"large logs: not measured, as no fact of {setting.source.origin} holds the common member"
            )
        elif setting.preset.postgres.log_sizes:
            async with large_logs(setting, place, result) as logs:
                await replays.measure(setting, logs, result)
                await lookups.measure(setting, logs, result)
                await slowdown(setting, [log.served for log in logs], result)
                streams, large = setting.preset.scale.idle_streams, logs[-1]
                for log in logs:
                    await log.check(result)
                busy = await idle_streams(streams, large.served, "after all that is measured above", result)
                for log in logs:
                    bounded_memory(log.served, result)
                async with large.served_afresh() as fresh:
                    rows = [await idle_streams(streams, fresh, "just started", result), busy]
                memory_of_idle_streams(streams, large.log, rows, result)
    return result
