"""Durable streams in the database, and the leases on them.

A lease names the server that holds it, and lasts as long as that server is heard of. Locks are taken in the order
stream, store; a commit that moves cursors holds the head row before them, and nobody here wants that.
"""

from collections.abc import Collection
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from factstr_server.stores.postgres.reading import Reader
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.times import microseconds
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

_STREAM: Final[LiteralString] = """
    SELECT
        d.durable_stream, d.query, d.cursor, d.lease_epoch, d.created_at, d.acknowledged_at,
        CASE WHEN v.server_id IS NOT NULL THEN d.holder END AS held_by, d.canonical_query
    FROM {schema}.durable_streams AS d
    LEFT JOIN {schema}.servers AS v ON v.server_id = d.holder_server AND {alive}
"""


class StreamTable:
    """Its statements. Those that change something run in a transaction that the caller began, and commits."""

    def __init__(self, statements: Statements, reader: Reader, server_id: UUID) -> None:
        self._sql = statements
        self._reader = reader
        self._server_id = server_id

    async def get(self, connection: AsyncConnection, durable_stream: str) -> StoredStream | None:
        row = await self._row(connection, durable_stream)
        return _stored(row) if row else None

    async def list_from(
        self, connection: AsyncConnection, after: str, name_prefix: str, limit: int
    ) -> list[StoredStream]:
        cursor = await connection.execute(
            self._sql(
                _STREAM
                + """
                WHERE d.durable_stream > %(after)s AND d.durable_stream >= %(prefix)s
                    AND starts_with(d.durable_stream, %(prefix)s)
                ORDER BY d.durable_stream LIMIT %(limit)s
                """
            ),
            {"after": after, "prefix": name_prefix, "limit": limit},
        )
        return [_stored(row) for row in await cursor.fetchall()]

    async def cursors(
        self, connection: AsyncConnection, durable_streams: Collection[str]
    ) -> dict[str, CursorState]:
        cursor = await connection.execute(
            self._sql(
                "SELECT durable_stream, lease_epoch, cursor FROM {schema}.durable_streams "
                "WHERE durable_stream = ANY(%s)"
            ),
            (list(durable_streams),),
        )
        return {name: CursorState(epoch, position) for name, epoch, position in await cursor.fetchall()}

    async def acquire(self, connection: AsyncConnection, wanted: Acquisition) -> AcquireOutcome:
        name = wanted.durable_stream
        # Without a lock, because those who wait ask often.
        row = await self._row(connection, name)
        if row and (problem := _not_to_be_had(row, wanted)) is not None:
            return problem
        row = await self._row(connection, name, lock=True)
        if row is None:
            head = await self._reader.head(connection)
            start = head if wanted.start_after is None else wanted.start_after
            if start > head:
                return PositionAhead(start, head)
            await connection.execute(
                self._sql(
                    """
                    INSERT INTO {schema}.durable_streams
                    VALUES (%s, %s, %s, %s, 0, clock_timestamp(), NULL, NULL, NULL)
                    ON CONFLICT (durable_stream) DO NOTHING
                    """
                ),
                (name, wanted.query_text, wanted.canonical_query, Int8(start)),
            )
            # Somebody else may have created it meanwhile.
            row = await self._row(connection, name, lock=True)
            if row is None:
                return await self.acquire(connection, wanted)
        if (problem := _not_to_be_had(row, wanted)) is not None:
            return problem
        lease_epoch = await self._next_lease_epoch(connection)
        await connection.execute(
            self._sql(
                "UPDATE {schema}.durable_streams SET lease_epoch = %s, holder = %s, holder_server = %s "
                "WHERE durable_stream = %s"
            ),
            (Int8(lease_epoch), wanted.holder, self._server_id, name),
        )
        return Acquired(lease_epoch, _stored(row).cursor)

    async def release(self, connection: AsyncConnection, durable_stream: str, lease_epoch: int) -> None:
        await connection.execute(
            self._sql(
                "UPDATE {schema}.durable_streams SET holder = NULL, holder_server = NULL "
                "WHERE durable_stream = %s AND lease_epoch = %s"
            ),
            (durable_stream, Int8(lease_epoch)),
        )

    async def release_all(self, connection: AsyncConnection) -> None:
        """This server goes."""
        await connection.execute(
            self._sql(
                """
                WITH gone AS (DELETE FROM {schema}.servers WHERE server_id = %(server_id)s)
                UPDATE {schema}.durable_streams SET holder = NULL, holder_server = NULL
                WHERE holder_server = %(server_id)s
                """
            ),
            {"server_id": self._server_id},
        )

    async def reset(
        self,
        connection: AsyncConnection,
        durable_stream: str,
        cursor: int,
        force: bool,  # noqa: FBT001
    ) -> ResetOutcome:
        row = await self._row(connection, durable_stream, lock=True)
        if problem := _problem(durable_stream, row, force):
            return problem
        head = await self._reader.head(connection)
        if cursor > head:
            return PositionAhead(cursor, head)
        lease_epoch = await self._next_lease_epoch(connection)
        await connection.execute(
            self._sql(
                "UPDATE {schema}.durable_streams "
                "SET cursor = %s, lease_epoch = %s, holder = NULL, holder_server = NULL WHERE durable_stream = %s"
            ),
            (Int8(cursor), Int8(lease_epoch), durable_stream),
        )
        return await self.get(connection, durable_stream) or StreamNotFound(durable_stream)

    async def delete(
        self,
        connection: AsyncConnection,
        durable_stream: str,
        force: bool,  # noqa: FBT001
    ) -> DeleteOutcome:
        row = await self._row(connection, durable_stream, lock=True)
        if problem := _problem(durable_stream, row, force):
            return problem
        await self._next_lease_epoch(connection)
        await connection.execute(
            self._sql("DELETE FROM {schema}.durable_streams WHERE durable_stream = %s"), (durable_stream,)
        )
        return Deleted()

    async def _row(
        self, connection: AsyncConnection, durable_stream: str, *, lock: bool = False
    ) -> tuple[Any, ...] | None:
        if lock:
            # In a statement of its own: what is read next is then the newest there is.
            await connection.execute(
                self._sql("SELECT FROM {schema}.durable_streams WHERE durable_stream = %s FOR UPDATE"),
                (durable_stream,),
            )
        cursor = await connection.execute(
            self._sql(_STREAM + " WHERE d.durable_stream = %s"), (durable_stream,)
        )
        return await cursor.fetchone()

    async def _next_lease_epoch(self, connection: AsyncConnection) -> int:
        cursor = await connection.execute(
            self._sql(
                "UPDATE {schema}.store SET last_lease_epoch = last_lease_epoch + 1 RETURNING last_lease_epoch"
            )
        )
        row = await cursor.fetchone()
        assert row, "the first migration makes it"
        return int(row[0])


def _not_to_be_had(row: tuple[Any, ...], wanted: Acquisition) -> QueryMismatch | LeaseHeld | None:
    if row[-1] != wanted.canonical_query:
        return QueryMismatch()
    stored = _stored(row)
    return None if stored.holder is None else LeaseHeld(stored.lease_epoch, stored.holder)


def _problem(
    durable_stream: str,
    row: tuple[Any, ...] | None,
    force: bool,  # noqa: FBT001
) -> StreamNotFound | LeaseHeld | None:
    if row is None:
        return StreamNotFound(durable_stream)
    stored = _stored(row)
    if stored.holder is not None and not force:
        return LeaseHeld(stored.lease_epoch, stored.holder)
    return None


def _stored(row: tuple[Any, ...]) -> StoredStream:
    name, query, position, lease_epoch, created_at, acknowledged_at, holder, _ = row
    return StoredStream(
        name,
        query,
        position,
        lease_epoch,
        microseconds(created_at),
        None if acknowledged_at is None else microseconds(acknowledged_at),
        holder,
    )
