"""What the same database does without FACTSTR: rows as the store writes them, inserted one a transaction, and by COPY.

The rows are the store's own: it is filled (`benchmarks.workers.filled`), and its table is read out in PostgreSQL's
binary form. They go into another schema that the store's migrations made, so into the same table with the same indexes,
with as little between as libpq allows.
"""

from collections import deque
from struct import Struct
from typing import Final

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus

from benchmarks.ledger import check
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreOptions

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_COUNT: Final = Struct("!h")
_LENGTH: Final = Struct("!i")
_INSERT: Final = b"insert_row"


class RowLimits:
    """Takes rows out of one schema, in order, and puts them into another. One call at a time, without a pause: the load
    process waits for the database and for nothing else.
    """

    def __init__(
        self,
        reading: psycopg.Connection,
        writing: psycopg.Connection,
        source: str,
        target: str,
        *,
        copied_rows: int,
    ) -> None:
        """`source` is filled, `target` is empty; a COPY brings so many rows in each transaction."""
        self._copied_rows = copied_rows
        self._reading = reading
        self._writing = writing
        self._source = sql.Identifier(source, "records")
        self._target = sql.Identifier(target, "records")
        self._rows: deque[bytes] = deque()
        self._read = 0
        self._written = 0
        self._copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self._target)

    def prepare(self) -> None:
        """Has the statement prepared: with as many parameters as the table has columns."""
        [row] = self._fetched(1)
        self._rows.append(row)
        columns = sql.SQL(", ").join(sql.SQL(f"${number + 1}") for number in range(len(_fields(row))))
        insert = sql.SQL("INSERT INTO {} VALUES ({})").format(self._target, columns)
        self._succeeded(self._writing.pgconn.prepare(_INSERT, insert.as_bytes(self._writing)).status)

    def fetch(self, rows: int) -> None:
        """Has so many rows at hand."""
        if len(self._rows) < rows:
            self._rows.extend(self._fetched(rows - len(self._rows)))

    async def insert(self, _: int) -> None:
        fields = _fields(self._next())
        # None is NULL, whatever the type says.
        result = self._writing.pgconn.exec_prepared(_INSERT, fields, [1] * len(fields))  # type: ignore[arg-type]
        self._succeeded(result.status)
        self._written += 1

    async def copy(self, _: int) -> None:
        rows = b"".join(self._next() for _ in range(self._copied_rows))
        with self._writing.cursor() as cursor, cursor.copy(self._copy) as copy:
            copy.write(b"%b%b%b" % (_SIGNATURE, rows, _END))
        self._written += self._copied_rows

    def check(self) -> str:
        """The rows that were written are those of the source, all of them and no others."""
        query = sql.SQL(
            """
            SELECT count(*), count(*) FILTER (WHERE t::text = s::text), min(t.sequence_number), max(t.sequence_number)
            FROM {} AS t LEFT JOIN {} AS s USING (sequence_number)
            """
        ).format(self._target, self._source)
        [found] = self._writing.execute(query).fetchall()
        expected = (self._written, self._written, 1, self._written)
        check(
            found == expected, f"rows, equal rows, first and last are {found} where {expected} were written"
        )
        return f"{self._written:,} rows inserted and copied: gapless, and equal to the store's own"

    def _next(self) -> bytes:
        if not self._rows:
            self.fetch(1_000)
        return self._rows.popleft()

    def _fetched(self, count: int) -> list[bytes]:
        """Rows as COPY sends them: how many fields, and each field with its length before it."""
        query = sql.SQL(
            "COPY (SELECT * FROM {} WHERE sequence_number BETWEEN {} AND {} ORDER BY sequence_number) TO STDOUT "
            "(FORMAT binary)"
        ).format(self._source, self._read + 1, self._read + count)
        with self._reading.cursor() as cursor, cursor.copy(query) as copy:
            rows = [bytes(row) for row in copy]
        rows[0] = rows[0].removeprefix(_SIGNATURE)
        rows = [row for row in rows if row not in (b"", _END)]
        check(len(rows) == count, f"{len(rows)} rows are left of {count} that are needed")
        self._read += count
        return rows

    def _succeeded(self, status: int) -> None:
        if status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(self._writing.pgconn.get_error_message())


async def make_schema(url: str) -> None:
    """As a server does that starts on it."""
    store = store_by_url(url, StoreOptions())
    await store.open()
    await store.close()


def _fields(row: bytes) -> list[bytes | None]:
    [count] = _COUNT.unpack_from(row)
    place = _COUNT.size
    fields: list[bytes | None] = []
    for _ in range(count):
        [length] = _LENGTH.unpack_from(row, place)
        place += _LENGTH.size
        fields.append(None if length < 0 else row[place : place + length])
        place += max(length, 0)
    return fields
