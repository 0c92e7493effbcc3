"""The PostgreSQL that stores are measured on: one of the benchmark's own, with full durability, or one that is named.

Its own is started as the tests start theirs (`tests.postgres`), and gone after the scenario.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from os import environ, sysconf
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from benchmarks.machine import file_system
from benchmarks.results import Skipped
from tests.postgres import installation
from tests.postgres.cluster import Cluster
from tests.postgres.fresh import with_schema, without_schema
from tests.postgres.processes import children, process

VARIABLE: Final = "FACTSTR_BENCH_POSTGRES_URL"
"""Names the server to measure on, instead of one of the benchmark's own."""

DURABLE: Final = {"fsync": "on", "synchronous_commit": "on"}
_TICKS: Final = sysconf("SC_CLK_TCK")
_TOLD: Final = (
    *DURABLE,
    "full_page_writes",
    "wal_level",
    "wal_sync_method",
    "synchronous_standby_names",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
)


class Database:
    """A server's database, as one URL. What is made in it stands in schemas of their own, and is dropped."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        """With the folder of its data, if the server is the benchmark's own."""
        self._url = without_schema(url)
        self._postmaster: int | None = None
        with self.connect() as connection:
            self.settings = {name: connection.execute(f"SHOW {name}").fetchall()[0][0] for name in _TOLD}
            self.version: str = connection.execute("SHOW server_version").fetchall()[0][0]
            if folder:
                backend = process(connection.info.backend_pid)
                assert backend, "it is on this machine, and connected"
                self._postmaster = backend.parent
        self._place = f"data on {file_system(folder)}" if folder else f"the server that {VARIABLE} names"

    def described(self) -> str:
        settings = ", ".join(f"{name} = {value or 'none'}" for name, value in self.settings.items())
        return f"PostgreSQL {self.version}, {self._place}: {settings}"

    @property
    def durable(self) -> bool:
        return all(self.settings[name] == value for name, value in DURABLE.items())

    def connect(self) -> psycopg.Connection:
        """A connection that commits each statement; closed by its own `with`."""
        return psycopg.connect(self._url, autocommit=True, connect_timeout=10)

    @property
    def tells_cpu(self) -> bool:
        """Whether its processes can be watched."""
        return self._postmaster is not None

    @contextmanager
    def store(self, name: str) -> Iterator[tuple[str, str]]:
        """The URL of an empty store, and the name of its schema, which is dropped at the end of the block."""
        schema = f"benchmark_{secrets.token_hex(4)}_{name}"
        try:
            yield with_schema(self._url, schema), schema
        finally:
            with self.connect() as connection:
                connection.execute("SET client_min_messages = warning")
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    def cpu_seconds(self) -> float:
        """What its processes have used so far, those that have ended included; 0 where they are not this machine's."""
        if self._postmaster is None:
            return 0
        ours = [self._postmaster, *(child.pid for child in children(self._postmaster))]
        fields = Path(f"/proc/{self._postmaster}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ended = (int(fields[13]) + int(fields[14])) / _TICKS
        return ended + sum(map(_cpu_seconds, ours))


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """For the length of a block. Raises Skipped where there is none."""
    named = environ.get(VARIABLE)
    if named:
        yield Database(named)
        return
    if not installation.found():
        raise Skipped(f"no PostgreSQL binaries were found, and {VARIABLE} names no server")
    with Cluster.create(durable=True) as cluster:
        yield Database(cluster.url(), cluster.folder)


def _cpu_seconds(process_id: int) -> float:
    try:
        return int(Path(f"/proc/{process_id}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0
