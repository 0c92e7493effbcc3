"""Ten servers on one schema, with one writer each, beside one server with ten writers; a quick run has fewer."""

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from benchmarks.comparison import Variant, compared
from benchmarks.connection import Connection, connected
from benchmarks.ledger import Ledger
from benchmarks.load import Busy, many_at_once
from benchmarks.postgres import Database
from benchmarks.processes import ServerProcess, factstr_server_on
from benchmarks.results import Result, Setting, Table
from benchmarks.scenarios.append import Appends, prepared_requests


class _Group(NamedTuple):
    """Servers that are looked at as one."""

    servers: list[ServerProcess]

    def cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server in self.servers)


async def measure(setting: Setting, database: Database, result: Result) -> None:
    rounds, sizes = setting.preset.rounds, setting.preset.postgres
    count = sizes.servers
    ledgers = Ledger(), Ledger()
    async with AsyncExitStack() as stack:

        async def serve(url: str, name: str) -> tuple[ServerProcess, Connection]:
            server = await stack.enter_async_context(factstr_server_on(url, setting.folder / f"{name}.log"))
            return server, await stack.enter_async_context(connected(server.address))

        one_url, _ = stack.enter_context(database.store("one"))
        many_url, _ = stack.enter_context(database.store("many"))
        server, connection = await serve(one_url, "one")
        async with asyncio.TaskGroup() as group:
            starting = [group.create_task(serve(many_url, f"many-{number}")) for number in range(count)]
        servers = [task.result() for task in starting]
        requests = prepared_requests(setting.source, 1)
        one = Appends(connection, requests, ledgers[0])
        many = [Appends(own, requests, ledgers[1]) for _, own in servers]

        def variant(name: str, busy: Busy, appends: list[Appends]) -> Variant:
            return Variant(
                name,
                lambda: many_at_once(
                    busy, count, sizes.seconds, lambda number: appends[number].append(number)
                ),
                {"events": 1, "callers": count},
                1,
            )

        all_of_them = _Group([each for each, _ in servers])
        rows, _ = await compared(
            [
                variant(f"one server, {count} writers", server, [one] * count),
                variant(f"{count} servers, one writer each", all_of_them, many),
            ],
            rounds,
            "rate",
        )
        result.tables.append(Table("Appends of 1 event through many servers", "rate", rows, "the one server"))
        for row, ledger, asked in zip(rows, ledgers, (connection, servers[-1][1]), strict=True):
            result.checks.append(f"{row.name}: {await ledger.check(asked)}")
        result.peak_memory_mib["one server"] = server.peak_memory_mib() or 0
        for number, each in enumerate(all_of_them.servers, 1):
            result.peak_memory_mib[f"server {number} of {count}"] = each.peak_memory_mib() or 0
