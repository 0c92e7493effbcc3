"""A file as the source or the target of a copy (`stores.copy_protocol`).

Each has one connection, used by one thread at a time, and holds the file's lock, so that no server runs on it.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import apsw
import orjson

from factstr_server.stores.copy_protocol import (
    PAGE_BYTES,
    PAGE_FACTS,
    PAGE_KEYS,
    PAGE_STREAMS,
    Contents,
    CopiedFact,
    CopiedKey,
    CopiedStream,
    Identity,
)
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.database import (
    NEWEST_FORMAT,
    FileLock,
    check_application,
    check_place,
    finish_copy,
    format_of,
    open_copy,
    open_unchanged,
    told_of,
)

T = TypeVar("T")

_CONTENTS: Final = """
    SELECT
        store_id, history_id, created_at, last_lease_epoch, acknowledgement_key,
        (SELECT coalesce(max(sequence_number), 0) FROM records), (SELECT count(*) FROM batches),
        (SELECT count(*) FROM idempotency_keys), (SELECT count(*) FROM durable_streams)
    FROM store
"""
_FACTS: Final = """
    SELECT
        r.sequence_number, r.occurred_at, r.event_type, r.metadata, r.payload_bytes,
        substr(r.record, r.opening_bytes + 1), substr(r.record, 1, r.opening_bytes), b.last_sequence_number
    FROM records AS r LEFT JOIN batches AS b ON b.first_sequence_number = r.sequence_number
    WHERE r.sequence_number > ? ORDER BY r.sequence_number LIMIT ?
"""
_KEYS: Final = """
    SELECT first_sequence_number, last_sequence_number, occurred_at, idempotency_key, fingerprint
    FROM idempotency_keys WHERE first_sequence_number > ? ORDER BY first_sequence_number LIMIT ?
"""
_STREAMS: Final = """
    SELECT durable_stream, query, canonical_query, cursor, lease_epoch, created_at, acknowledged_at
    FROM durable_streams WHERE durable_stream > ? ORDER BY durable_stream LIMIT ?
"""

# A page in a statement or two, as `writing` writes a group: a row a step would cost more than what it does.
_WRITE_RECORDS: Final = """
    INSERT INTO records (
        sequence_number, occurred_at, event_type, metadata, payload_bytes, opening_bytes, record
    )
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        substr(?2, value ->> 6, value ->> 7)
    FROM json_each(?1)
"""
_WRITE_TERMS: Final = """
    INSERT INTO terms (rowid, tokens) SELECT ?1 + key, value FROM json_each(?2)
"""


class _File:
    """The file, read. Methods whose names begin with an underscore run in its thread."""

    def __init__(self, name: str, database: Path) -> None:
        self.name = name
        self.place = database.resolve()
        self._database = database
        self._thread = ThreadPoolExecutor(1, "factstr-copy")
        self._lock: FileLock | None = None
        self._connection: apsw.Connection | None = None

    async def close(self) -> None:
        await self._run(self._close)

    async def check_unused(self) -> None:
        """The lock is held."""

    async def contents(self) -> Contents:
        return await self._run(self._contents)

    async def facts_after(self, sequence_number: int) -> list[CopiedFact]:
        return await self._run(self._facts_after, sequence_number)

    async def keys_after(self, first_sequence_number: int) -> list[CopiedKey]:
        return await self._run(self._rows, CopiedKey._make, _KEYS, first_sequence_number, PAGE_KEYS)

    async def streams_after(self, durable_stream: str) -> list[CopiedStream]:
        return await self._run(self._rows, CopiedStream._make, _STREAMS, durable_stream, PAGE_STREAMS)

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    @property
    def _open_connection(self) -> apsw.Connection:
        assert self._connection, "opened"
        return self._connection

    def _close(self) -> None:
        if self._connection:
            self._connection.close(force=True)
            self._connection = None
        if self._lock:
            self._lock.release()
            self._lock = None

    def _contents(self) -> Contents:
        with self._told():
            row = self._open_connection.execute(_CONTENTS).get
        if row is None:
            raise StoreError(f"{self._database} is damaged: it does not say which store it is")
        return Contents(Identity._make(row[:5]), *row[5:])

    def _facts_after(self, sequence_number: int) -> list[CopiedFact]:
        page: list[CopiedFact] = []
        size = 0
        with (
            self._told(),
            closing(self._open_connection.execute(_FACTS, (sequence_number, PAGE_FACTS))) as rows,
        ):
            for row in rows:
                fact = CopiedFact._make(row)
                page.append(fact)
                size += len(fact.record)
                if size >= PAGE_BYTES:
                    break
        return page

    def _rows(self, make: Callable[[Sequence[object]], T], sql: str, *bindings: int | str) -> list[T]:
        with self._told():
            return list(map(make, self._open_connection.execute(sql, bindings)))

    def _found(self) -> apsw.Connection | None:
        """The store that is in the file, if any, open for reading."""
        if not self._database.is_file():
            return None
        with self._told():
            connection = open_unchanged(self._database)
        try:
            with self._told():
                if check_application(connection, self._database):
                    format_of(connection, self._database)
                    return connection
        except StoreError:
            connection.close()
            raise
        connection.close()
        return None

    def _told(self) -> AbstractContextManager[None]:
        return told_of(self._database)


class FileSource(_File):
    """A `CopySource`."""

    async def open(self) -> None:
        await self._run(self._open)

    def _open(self) -> None:
        check_place(self._database)
        if not self._database.is_file():
            raise StoreError(f"there is no store at {self._database}")
        self._lock = FileLock(self._database)
        self._connection = self._found()
        if not self._connection:
            raise StoreError(f"there is no store in {self._database}")
        found = format_of(self._connection, self._database)
        if found < NEWEST_FORMAT:
            raise StoreError(
                f"{self._database} has the earlier format {found}; bring it to format {NEWEST_FORMAT} first: "
                f"factstr-server migrate --store {self.name}"
            )


class FileTarget(_File):
    """A `CopyTarget`."""

    @property
    def remedy(self) -> str:
        return f"delete {self._database}"

    async def open(self) -> None:
        await self._run(self._open)

    async def begin(self) -> None:
        await self._run(self._begin)

    async def write_facts(self, facts: Sequence[CopiedFact], terms: Sequence[str]) -> None:
        await self._run(self._write_facts, facts, terms)

    async def write_keys(self, keys: Sequence[CopiedKey]) -> None:
        await self._run(self._write_rows, "INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?)", keys)

    async def write_streams(self, streams: Sequence[CopiedStream]) -> None:
        await self._run(self._write_rows, "INSERT INTO durable_streams VALUES (?, ?, ?, ?, ?, ?, ?)", streams)

    async def write_identity(self, identity: Identity, newest: CopiedFact | None) -> None:
        await self._run(self._write_rows, "REPLACE INTO store VALUES (1, ?, ?, ?, ?, ?)", [identity])

    async def finish(self) -> None:
        await self._run(self._finish)

    def _open(self) -> None:
        check_place(self._database)
        self._lock = FileLock(self._database)
        found = self._found()
        if found:
            with self._told(), closing(found):
                self._check_empty(found)

    def _check_empty(self, found: apsw.Connection) -> None:
        """Of any format: the tables that it has are those of facts, keys and streams, if they are there."""
        tables = {name for (name,) in found.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for table in {"records", "idempotency_keys", "durable_streams"} & tables:
            if found.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").get:  # noqa: S608
                raise StoreError(f"{self._database} is not empty; copy to a file that is new")

    def _begin(self) -> None:
        self._connection = open_copy(self._database)

    def _write_facts(self, facts: Sequence[CopiedFact], terms: Sequence[str]) -> None:
        rows: list[tuple[int, int, str, str | None, int, int, int, int]] = []
        records: list[bytes] = []
        offset = 1
        for number, occurred_at, event_type, metadata_text, payload_size, record, opening, _ in facts:
            size = len(opening) + len(record)
            rows.append(
                (number, occurred_at, event_type, metadata_text, payload_size, len(opening), offset, size)
            )
            records += (opening, record)
            offset += size
        batches = [(fact.sequence_number, fact.batch_last) for fact in facts if fact.batch_last is not None]
        with self._transaction() as connection:
            connection.execute(_WRITE_RECORDS, (_json(rows), b"".join(records)))
            connection.execute(_WRITE_TERMS, (facts[0].sequence_number, _json(terms)))
            connection.executemany("INSERT INTO batches VALUES (?, ?)", batches)

    def _write_rows(self, sql: str, rows: Sequence[tuple[int | str | bytes | None, ...]]) -> None:
        with self._transaction() as connection:
            connection.executemany(sql, rows)

    def _finish(self) -> None:
        with self._told():
            finish_copy(self._open_connection)

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        """What is left open by a failure ends with the connection."""
        connection = self._open_connection
        with self._told():
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
