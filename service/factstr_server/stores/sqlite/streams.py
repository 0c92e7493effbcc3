"""Durable streams in the file. Those that write run in the writer's thread, between commits.

Who holds a lease is known in memory alone: one server has the file, and its leases end with it. What must outlive it,
the cursor and the epochs, is in the file before anybody is told.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import apsw
import orjson

from factstr_server.stores.stream_protocol import (
    Acquired,
    AcquireOutcome,
    Acquisition,
    CursorState,
    Deleted,
    DeleteOutcome,
    LeaseHeld,
    PositionAhead,
    QueryMismatch,
    ResetOutcome,
    StoredStream,
    StreamNotFound,
)

_COLUMNS: Final = "durable_stream, query, cursor, lease_epoch, created_at, acknowledged_at"


class Holders:
    """Who holds which lease. Read by any thread, changed by the writer's alone."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, str]] = {}

    def take(self, durable_stream: str, lease_epoch: int, holder: str) -> None:
        self._held[durable_stream] = (lease_epoch, holder)

    def end(self, durable_stream: str) -> None:
        self._held.pop(durable_stream, None)

    def release(self, durable_stream: str, lease_epoch: int) -> None:
        """Ends this lease; does nothing when it is over."""
        held = self.of(durable_stream)
        if held and held.lease_epoch == lease_epoch:
            self.end(durable_stream)

    def of(self, durable_stream: str) -> LeaseHeld | None:
        held = self._held.get(durable_stream)
        return LeaseHeld(*held) if held else None


def read_stream(connection: apsw.Connection, holders: Holders, durable_stream: str) -> StoredStream | None:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM durable_streams WHERE durable_stream = ?",  # noqa: S608
        (durable_stream,),
    )
    return next((_stored(row, holders) for row in rows.fetchall()), None)


def list_streams(
    connection: apsw.Connection, holders: Holders, after: str, name_prefix: str, limit: int
) -> list[StoredStream]:
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM durable_streams
        WHERE durable_stream > ?1 AND durable_stream >= ?2 AND substr(durable_stream, 1, length(?2)) = ?2
        ORDER BY durable_stream LIMIT ?3
        """,  # noqa: S608
        (after, name_prefix, limit),
    )
    return [_stored(row, holders) for row in rows]


def cursor_states(connection: apsw.Connection, names: Iterable[str]) -> dict[str, CursorState]:
    """Those of the names that exist."""
    rows = connection.execute(
        """
        SELECT s.durable_stream, s.lease_epoch, s.cursor
        FROM json_each(?1) AS wanted CROSS JOIN durable_streams AS s ON s.durable_stream = wanted.value
        """,
        (orjson.dumps(list(names)).decode(),),
    )
    return {name: CursorState(lease_epoch, cursor) for name, lease_epoch, cursor in rows}


class StreamWriter:
    """What changes durable streams, except for their cursors on the way (`writing.Writer`)."""

    def __init__(self, connection: apsw.Connection, holders: Holders) -> None:
        self._connection = connection
        self._holders = holders

    def acquire(self, acquisition: Acquisition, head: int, now: int) -> AcquireOutcome:
        name = acquisition.durable_stream
        [*known] = self._connection.execute(
            "SELECT canonical_query, cursor FROM durable_streams WHERE durable_stream = ?", (name,)
        )
        if known and known[0][0] != acquisition.canonical_query:
            return QueryMismatch()
        if held := self._holders.of(name):
            return held
        cursor = (
            known[0][1] if known else head if acquisition.start_after is None else acquisition.start_after
        )
        if not known and cursor > head:
            return PositionAhead(cursor, head)
        with self._transaction():
            lease_epoch = self._next_lease_epoch()
            if known:
                self._connection.execute(
                    "UPDATE durable_streams SET lease_epoch = ? WHERE durable_stream = ?", (lease_epoch, name)
                )
            else:
                self._connection.execute(
                    "INSERT INTO durable_streams VALUES (?, ?, ?, ?, ?, ?, NULL)",
                    (name, acquisition.query_text, acquisition.canonical_query, cursor, lease_epoch, now),
                )
        self._holders.take(name, lease_epoch, acquisition.holder)
        return Acquired(lease_epoch, cursor)

    def reset(self, durable_stream: str, cursor: int, head: int, force: bool) -> ResetOutcome:  # noqa: FBT001
        if problem := self._problem(durable_stream, force):
            return problem
        if cursor > head:
            return PositionAhead(cursor, head)
        with self._transaction():
            self._connection.execute(
                "UPDATE durable_streams SET cursor = ?, lease_epoch = ? WHERE durable_stream = ?",
                (cursor, self._next_lease_epoch(), durable_stream),
            )
        self._holders.end(durable_stream)
        return read_stream(self._connection, self._holders, durable_stream) or StreamNotFound(durable_stream)

    def delete(self, durable_stream: str, force: bool) -> DeleteOutcome:  # noqa: FBT001
        if problem := self._problem(durable_stream, force):
            return problem
        with self._transaction():
            self._connection.execute(
                "DELETE FROM durable_streams WHERE durable_stream = ?", (durable_stream,)
            )
            self._next_lease_epoch()
        self._holders.end(durable_stream)
        return Deleted()

    def _problem(self, durable_stream: str, force: bool) -> StreamNotFound | LeaseHeld | None:  # noqa: FBT001
        if read_stream(self._connection, self._holders, durable_stream) is None:
            return StreamNotFound(durable_stream)
        return None if force else self._holders.of(durable_stream)

    def _next_lease_epoch(self) -> int:
        return int(
            self._connection.execute(
                "UPDATE store SET last_lease_epoch = last_lease_epoch + 1 RETURNING last_lease_epoch"
            ).get
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, durable at its end."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _stored(row: tuple[Any, ...], holders: Holders) -> StoredStream:
    held = holders.of(row[0])
    return StoredStream._make((*row, held.holder if held else None))
