"""Logs of two sizes that the store was filled with, each served, and open as a store in this process too."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.connection import Connection, connected
from benchmarks.facts import COMMON_MEMBER
from benchmarks.postgres import Database
from benchmarks.processes import ServerProcess, factstr_server_on
from benchmarks.results import Result, Setting
from benchmarks.scenarios.context_query import ServedLog
from benchmarks.scenarios.filled_log import FilledLog, facts_beside
from benchmarks.workers import filled
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Committed, Store, StoreOptions

PLAN = "single facts"
_STORED = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relkind = 'r' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
"""


class LargeLog:
    """A log, its server, and its store in this process, as one more server has it."""

    def __init__(
        self,
        log: FilledLog,
        url: str,
        said: Path,
        *,
        server: ServerProcess,
        connection: Connection,
        store: Store,
    ) -> None:
        """`said`: where servers of `url` write what they say."""
        self._url = url
        self._said = said
        self.log = log
        self.server = server
        self.connection = connection
        self.store = store
        self.common = 0
        """How many of its facts hold the common member."""
        self.last_common = 0
        for position in range(log.size):
            if COMMON_MEMBER in log.facts(range(position, position + 1))[0].payload:
                self.common += 1
                self.last_common = position + 1

    @property
    def size(self) -> int:
        return self.log.size

    def acknowledged(self, response: bytes) -> None:
        """`BESIDE` was appended."""
        self.log.ledger.acknowledged(response, facts_beside)

    def committed(self, outcome: object) -> None:
        """`BESIDE` was committed by the store itself."""
        assert isinstance(outcome, Committed), outcome
        first, last, _ = outcome
        response = pb.AppendResponse(
            first_sequence_number=first, last_sequence_number=last, committed_count=1
        )
        self.acknowledged(response.SerializeToString())

    @property
    def served(self) -> ServedLog:
        return ServedLog(self.server, self.connection, self.log)

    async def check(self, result: Result) -> None:
        result.checks.append(f"log of {self.size:,}: {await self.log.ledger.check(self.connection)}")

    @asynccontextmanager
    async def served_afresh(self) -> AsyncIterator[ServedLog]:
        """By one more server, which has done nothing yet."""
        async with (
            factstr_server_on(self._url, self._said.with_suffix(".fresh.log")) as server,
            connected(server.address) as connection,
        ):
            yield ServedLog(server, connection, self.log)


@asynccontextmanager
async def large_logs(setting: Setting, database: Database, result: Result) -> AsyncIterator[list[LargeLog]]:
    logs = []
    async with AsyncExitStack() as stack:
        for size in setting.preset.postgres.log_sizes:
            url, schema = stack.enter_context(database.store(f"log_{size}"))
            begin = perf_counter()
            await filled(url, PLAN, size, setting.preset.contexts)
            rate = size / (perf_counter() - begin)
            # As it is a while after it was filled: autovacuum does it sooner or later.
            with database.connect() as connection:
                connection.execute(f'VACUUM ANALYZE "{schema}".records')
                [(stored,)] = connection.execute(_STORED, (schema,)).fetchall()
            said = setting.folder / f"log-{size}.log"
            server = await stack.enter_async_context(factstr_server_on(url, said))
            connected_to = await stack.enter_async_context(connected(server.address))
            store = store_by_url(url, StoreOptions())
            await store.open()
            stack.push_async_callback(store.close)
            log = FilledLog(setting.source, size, setting.preset.contexts)
            log.loaded()
            logs.append(LargeLog(log, url, said, server=server, connection=connected_to, store=store))
            share = logs[-1].common / size
            result.notes.append(
                f"log of {size:,}: filled through the store with {rate:,.0f} facts/s; {share:.0%} of it hold the "
                f"common member; its tables and indexes take {int(stored) / size:,.0f} bytes a fact, the "
                f"{log.payload_bytes():,.0f} of its payload among them"
            )
        yield logs
