"""Whether the log is still the one that this server knows.

A failover to a standby that was behind, or a restore, takes the newest facts away, and others may come under their
numbers. So every connection, before anything is read through it, and the watch at every look, compare the newest fact
that this server knows of with what stands there now.

A server of a newer version may also have brought the store to a format that this one does not know. Then this one
leaves it alone, until it has a known format again.

Invariants:
- `known` is a fact that was committed, and does not go back but by `diverged`. Everything that this server has
  committed, or has named as the log's end, is at or before it.
- Whoever finds the log diverged says so before another look can take the new log for the old one.
- One server gives the diverged log its new `history_id`; the others find it there, and take it for diverged too,
  whatever they know: what another one has named may have reached their callers. Every epoch of before is void then: an
  acknowledgement from the lost history must not move a cursor over facts that nobody saw.
"""

import asyncio
import hashlib
import logging
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from factstr_server.contract.errors import StoreDisconnected
from factstr_server.stores.postgres.migrations import NEWEST_FORMAT, written_by_a_newer_version
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.protocol import StoreInfo, StoreListener

_EPOCHS_PASSED_OVER = 1_000_000
"""More than a lost history can have used up."""

_log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """A fact, as it is recognised again."""

    sequence_number: int
    occurred_at: datetime | None
    digest: str | None


NOTHING = Mark(0, None, None)


def mark(sequence_number: int, occurred_at: datetime, framing: bytes) -> Mark:
    return Mark(sequence_number, occurred_at, hashlib.md5(framing, usedforsecurity=False).hexdigest())


class LogEnd(NamedTuple):
    """What a look found."""

    head: int
    other_servers: int
    """How many others have been heard of lately."""


class Continuity:
    """What this server knows of the log. Used by one event loop; looks take turns."""

    info: StoreInfo
    acknowledgement_key: bytes

    def __init__(self, statements: Statements, server_id: UUID) -> None:
        self._sql = statements
        self._server_id = server_id
        self._looking = asyncio.Lock()
        self.known = NOTHING
        self.listener: StoreListener | None = None

    async def begin(self, connection: AsyncConnection) -> None:
        """Learns which log it is."""
        cursor = await connection.execute(
            self._sql("SELECT store_id::text, history_id::text, acknowledgement_key FROM {schema}.store")
        )
        row = await cursor.fetchone()
        assert row, "the first migration makes it"
        self.info = StoreInfo("postgresql", row[0], row[1])
        self.acknowledgement_key = row[2]
        await self.look(connection)

    def committed(self, newest: Mark) -> None:
        """This server has committed, or seen committed."""
        if newest.sequence_number > self.known.sequence_number:
            self.known = newest

    async def head(self, connection: AsyncConnection) -> int:
        """Where the log ends, for somebody who goes on from there."""
        cursor = await connection.execute(
            self._sql(
                """
                SELECT h.sequence_number, n.occurred_at, md5(n.framing)
                FROM {schema}.head AS h LEFT JOIN {schema}.records AS n ON n.sequence_number = h.sequence_number
                """
            )
        )
        row = await cursor.fetchone()
        assert row, "the first migration makes it"
        self.committed(Mark(*row))
        return int(row[0])

    async def look(self, connection: AsyncConnection) -> LogEnd:
        """Where the log ends, after comparing what is known of it. Raises StoreDisconnected where another store is, or
        one of a format that this version does not know.
        """
        async with self._looking:
            known = self.known
            cursor = await connection.execute(
                self._sql(
                    """
                    SELECT
                        s.store_id::text, s.history_id::text, h.sequence_number, n.occurred_at, md5(n.framing),
                        k.occurred_at, md5(k.framing),
                        (SELECT count(*) FROM {schema}.servers WHERE server_id <> %s AND {alive}),
                        (SELECT format FROM {schema}.schema_format)
                    FROM {schema}.store AS s CROSS JOIN {schema}.head AS h
                    LEFT JOIN {schema}.records AS n ON n.sequence_number = h.sequence_number
                    LEFT JOIN {schema}.records AS k ON k.sequence_number = %s::bigint
                    """
                ),
                (self._server_id, known.sequence_number),
            )
            row = await cursor.fetchone()
            assert row, "the first migration makes it"
            store_id, history_id, head, newest_at, newest_digest, known_at, known_digest, others, found = row
            if found > NEWEST_FORMAT:
                raise StoreDisconnected(f"its schema {written_by_a_newer_version(found)}")
            if store_id != self.info.store_id:
                raise StoreDisconnected("another store stands where this server's store was")
            newest = Mark(head, newest_at, newest_digest)
            if history_id == self.info.history_id and (known_at, known_digest) == known[1:]:
                self.committed(newest)
            else:
                await self._diverged(connection, history_id, newest)
            return LogEnd(head, others)

    async def _diverged(self, connection: AsyncConnection, history_id: str, newest: Mark) -> None:
        _log.error(
            "the log has lost its end, as this server sees or another one has found: known up to %d, it ends at %d now",
            self.known.sequence_number,
            newest.sequence_number,
        )
        if history_id == self.info.history_id:
            history_id = await self._new_history(connection, history_id)
        self.info = self.info._replace(history_id=history_id)
        self.known = newest
        if self.listener:
            self.listener.diverged(newest.sequence_number)

    async def _new_history(self, connection: AsyncConnection, known: str) -> str:
        async with connection.transaction():
            await connection.execute(
                self._sql(
                    """
                    WITH renewed AS (
                        UPDATE {schema}.store
                        SET history_id = gen_random_uuid(),
                            last_lease_epoch = last_lease_epoch + %s
                                + (SELECT count(*) FROM {schema}.durable_streams)
                        WHERE history_id = %s::uuid
                        RETURNING last_lease_epoch
                    ), numbered AS (
                        SELECT durable_stream, row_number() OVER (ORDER BY durable_stream) - 1 AS place
                        FROM {schema}.durable_streams
                    )
                    UPDATE {schema}.durable_streams AS d
                    SET lease_epoch = renewed.last_lease_epoch - numbered.place, holder = NULL, holder_server = NULL
                    FROM renewed, numbered
                    WHERE numbered.durable_stream = d.durable_stream
                    """
                ),
                (_EPOCHS_PASSED_OVER, known),
            )
            cursor = await connection.execute(self._sql("SELECT history_id::text FROM {schema}.store"))
            row = await cursor.fetchone()
        assert row, "the first migration makes it"
        return str(row[0])
