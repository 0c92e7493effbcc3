"""What a store keeps beside its facts, as its files and its database show it: it must not grow with the load."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

Row = dict[str, float]

MIB: Final = 1024 * 1024


class Bookkeeping(ABC):
    """Of one store."""

    @abstractmethod
    async def look(self) -> Row: ...


class SqliteFiles(Bookkeeping):
    def __init__(self, database: Path, pid: int) -> None:
        """The server's."""
        self._database = database
        self._descriptors = Path(f"/proc/{pid}/fd")

    async def look(self) -> Row:
        names = {"database MiB": self._database, "WAL MiB": Path(f"{self._database}-wal")}
        return {
            **{name: path.stat().st_size / MIB for name, path in names.items()},
            "files of the store": sum(map(self._is_ours, self._descriptors.iterdir())),
        }

    def _is_ours(self, descriptor: Path) -> bool:
        try:
            return str(descriptor.readlink()).startswith(str(self._database))
        except FileNotFoundError:
            return False  # Closed meanwhile.


_TABLES: Final = ("head", "store", "servers", "durable_streams")
"""Their rows are changed all the time, and stay as many as they are."""

_LOOK: Final = """
    WITH connections AS (SELECT * FROM pg_stat_activity WHERE application_name = {application})
    SELECT
        (SELECT count(*) FROM connections) AS "connections",
        (SELECT count(*) FROM connections WHERE state LIKE 'idle in transaction%') AS "idle in transaction",
        (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM connections)
            AS "longest transaction s",
        (SELECT count(*) FROM pg_locks JOIN connections USING (pid)) AS "locks",
        (SELECT sum(pg_total_relation_size(to_regclass({schema} || '.' || name)))
            FROM unnest({tables}::text[]) AS t (name)) / 1048576.0 AS "bookkeeping MiB",
        (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables
            WHERE schemaname = {schema} AND relname = ANY({tables}::text[])) AS "dead rows",
        (SELECT count(*) FROM {servers}) AS "servers",
        (SELECT count(*) FROM {streams}) AS "durable streams",
        (SELECT count(*) FROM {streams} WHERE holder IS NOT NULL) AS "leases"
"""


class PostgresTables(Bookkeeping):
    """Looked at through a connection of its own."""

    def __init__(self, connection: AsyncConnection, schema: str, application: str) -> None:
        self._connection = connection
        self._look = sql.SQL(_LOOK).format(
            application=sql.Literal(application),
            schema=sql.Literal(schema),
            tables=sql.Literal(list(_TABLES)),
            servers=sql.Identifier(schema, "servers"),
            streams=sql.Identifier(schema, "durable_streams"),
        )

    async def look(self) -> Row:
        cursor = await self._connection.cursor(row_factory=dict_row).execute(self._look)
        row = await cursor.fetchone()
        assert row
        return {name: float(value) for name, value in row.items()}
