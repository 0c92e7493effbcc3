"""FACTSTR on PostgreSQL, beside the least that the same database allows.

Appends beside plain INSERTs and COPY; ten servers on one schema; what is looked up and replayed in large logs. Checked
as everywhere: each log holds exactly what was acknowledged, and every answer what it should.
"""

from benchmarks.postgres import database
from benchmarks.results import Result, Setting
from benchmarks.scenarios.idle_streams import idle_streams
from benchmarks.scenarios.postgresql import appends, lookups, many_servers, replays
from benchmarks.scenarios.postgresql.large_logs import large_logs
from benchmarks.scenarios.slowdown import slowdown

__all__ = ["run"]


async def run(setting: Setting) -> Result:
    """Raises Skipped."""
    result = Result("postgresql")
    async with database() as place:
        result.notes.append(place.described())
        if not place.durable:
            result.notes.append("this server is NOT durable: its figures say nothing of one that is")
        await appends.measure(setting, place, result)
        await many_servers.measure(setting, place, result)
        if setting.preset.postgres.log_sizes:
            async with large_logs(setting, place, result) as logs:
                await replays.measure(setting, logs, result)
                await lookups.measure(setting, logs, result)
                await slowdown(setting, [log.served for log in logs], result)
                for log in logs:
                    await log.check(result)
                await idle_streams(setting.preset.scale.idle_streams, logs[-1].served, result)
    return result
