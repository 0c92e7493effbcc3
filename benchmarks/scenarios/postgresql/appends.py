"""Appends on PostgreSQL, beside rows that are inserted into the same tables one a transaction, and by COPY.

All are measured in the same rounds, and so is the empty call: what gRPC leaves, wherever facts are kept.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from benchmarks.comparison import Row, Variant, measured, rows_of
from benchmarks.connection import Connection, connected
from benchmarks.ledger import Ledger
from benchmarks.load import Sample, many_at_once, one_by_one
from benchmarks.postgres import Database
from benchmarks.processes import ServerProcess, empty_server, factstr_server_on
from benchmarks.results import Expectation, Result, Setting, Table, at_least
from benchmarks.row_limits import RowLimits, make_schema
from benchmarks.scenarios.append import Appends, counted, prepared_requests
from benchmarks.scenarios.append_if import DistinctContexts
from benchmarks.workers import filled

MOST_CLIENTS: Final = 64
CLIENTS_OF_SINGLES: Final = (1, 8, MOST_CLIENTS)
CLIENTS_OF_HUNDREDS: Final = (1, 8)
_INSERTS_AT_HAND: Final = 4_000
"""Rows for each second of single INSERTs. More are fetched while it is measured."""


async def measure(setting: Setting, database: Database, result: Result) -> None:
    async with AsyncExitStack() as stack:
        limits = await _limits(setting, database, stack)
        calls = await _calls(setting, database, stack)
        singles, hundreds = limits.variants()
        singles += calls.singles()
        hundreds += calls.hundreds()
        others = _Others(database)
        samples = await measured(
            [others.watched(variant) for variant in (*singles, *hundreds)], setting.preset.rounds
        )
        rows = others.told(rows_of(singles, samples, "rate"))
        rows_of_hundreds = others.told(rows_of(hundreds, samples, "events"))
        result.checks.append(f"limits: {limits.rows.check()}")
        result.checks.append(f"appends: {await calls.check()}; no conflict")
        result.peak_memory_mib["appends"] = calls.server.peak_memory_mib() or 0
    result.tables.append(Table("Facts one by one", "rate", rows, "the INSERT"))
    result.tables.append(
        Table("Facts by the hundred, measured in the same rounds", "events", rows_of_hundreds, "the COPY")
    )
    most = rows[len(CLIENTS_OF_SINGLES)]
    result.expectations.append(_expectation(most, "the single-connection insert rate", 3))
    result.expectations.append(_expectation(rows_of_hundreds[-1], "the COPY rate in events/s", 0.4))


class _Calls:
    """Appends on a store of their own, and the empty call on a server of its own."""

    def __init__(
        self,
        setting: Setting,
        server: ServerProcess,
        connection: Connection,
        empty: ServerProcess,
        empty_connection: Connection,
    ) -> None:
        self.server = server
        self._connection = connection
        self._empty = empty
        self._empty_connection = empty_connection
        self._seconds = setting.preset.postgres.seconds
        self._ledger = Ledger()
        self._appends = {
            events: Appends(connection, prepared_requests(setting.source, events), self._ledger)
            for events in (1, 100)
        }
        self._contexts = DistinctContexts(connection, setting.source, self._ledger)

    def singles(self) -> list[Variant]:
        return [
            *(self._append(1, clients) for clients in CLIENTS_OF_SINGLES),
            Variant(
                f"append_if, own context, {MOST_CLIENTS} clients",
                lambda: many_at_once(self.server, MOST_CLIENTS, self._seconds, self._contexts.append),
                {"events": 1, "callers": MOST_CLIENTS},
                1,
            ),
            Variant(
                f"empty unary call, {MOST_CLIENTS} clients",
                lambda: many_at_once(self._empty, MOST_CLIENTS, self._seconds, self._empty_call),
                {"events": 0, "callers": MOST_CLIENTS},
            ),
        ]

    def hundreds(self) -> list[Variant]:
        return [self._append(100, clients) for clients in CLIENTS_OF_HUNDREDS]

    async def check(self) -> str:
        return await self._ledger.check(self._connection)

    def _append(self, events: int, clients: int) -> Variant:
        made = self._appends[events]
        return Variant(
            f"append, {counted(events, 'event')}, {counted(clients, 'client')}",
            lambda: many_at_once(self.server, clients, self._seconds, made.append),
            {"events": events, "callers": clients},
            events,
        )

    async def _empty_call(self, _: int) -> None:
        await self._empty_connection.empty_unary(b"")


async def _calls(setting: Setting, database: Database, stack: AsyncExitStack) -> _Calls:
    url, _ = stack.enter_context(database.store("appends"))
    server = await stack.enter_async_context(factstr_server_on(url, setting.folder / "appends.log"))
    connection = await stack.enter_async_context(connected(server.address))
    empty = await stack.enter_async_context(empty_server(setting.folder))
    empty_connection = await stack.enter_async_context(connected(empty.address))
    return _Calls(setting, server, connection, empty, empty_connection)


class _Limits:
    """The INSERT and the COPY, and how many rows they are given at hand."""

    def __init__(self, setting: Setting, database: Database) -> None:
        self.rows: RowLimits
        sizes = setting.preset.postgres
        self._database = database
        self._seconds = sizes.seconds
        self._copied = sizes.copied_rows
        self._copies = max(1, round(sizes.seconds))
        self._inserted = round(_INSERTS_AT_HAND * sizes.seconds)

    @property
    def rows_of_a_round(self) -> int:
        return self._copies * self._copied + self._inserted

    def variants(self) -> tuple[list[Variant], list[Variant]]:
        insert = Variant("INSERT, one row a transaction", self._insert, {"events": 1, "callers": 1}, 1)
        copied = self._copied
        name = f"COPY, {copied:,} rows a transaction"
        return [insert], [Variant(name, self._copy, {"events": copied, "callers": 1}, copied)]

    async def _insert(self) -> Sample:
        self.rows.fetch(self._inserted)
        return await many_at_once(self._database, 1, self._seconds, self.rows.insert)

    async def _copy(self) -> Sample:
        self.rows.fetch(self._copies * self._copied)
        return await one_by_one(self._database, self._copies, self.rows.copy)


async def _limits(setting: Setting, database: Database, stack: AsyncExitStack) -> _Limits:
    """With the store's own rows, and an empty schema to put them in."""
    limits = _Limits(setting, database)
    source_url, source = stack.enter_context(database.store("source"))
    target_url, target = stack.enter_context(database.store("target"))
    rows = limits.rows_of_a_round * (setting.preset.rounds + 2)
    await filled(source_url, "single facts", rows, contexts=0)
    await make_schema(target_url)
    reading, writing = (stack.enter_context(database.connect()) for _ in range(2))
    limits.rows = RowLimits(reading, writing, source, target, copied_rows=setting.preset.postgres.copied_rows)
    limits.rows.prepare()
    return limits


@dataclass
class _Others:
    """What PostgreSQL's processes and this one, the clients', use of the machine."""

    database: Database
    used: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By variant, of every round."""

    def watched(self, variant: Variant) -> Variant:
        async def measure() -> Sample:
            before = self.database.cpu_seconds()
            sample = await variant.measure()
            used = self.database.cpu_seconds() - before, sample.load_cpu_seconds
            self.used.setdefault(variant.name, []).append(used)
            return sample

        return replace(variant, measure=measure)

    def told(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            # The round that warms up is not counted.
            database, clients = map(sum, zip(*self.used[row.name][1:], strict=True))
            if self.database.tells_cpu:
                row.extra["PostgreSQL_CPU_µs/call"] = database / row.calls * 1e6
            row.extra["clients'_CPU_µs/call"] = clients / row.calls * 1e6
        return rows


def _expectation(row: Row, limit: str, bound: float) -> Expectation:
    assert row.ratio
    return at_least(f"{row.name}: of {limit}", row.ratio.median, bound)
