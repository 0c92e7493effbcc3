"""Reads from a standby: pages of queries and replays, so that they do not burden the primary.

A read says up to which position it needs the log; that is at most a version or a head that the primary has told. The
standby serves it once it has replayed so far. Where it does not get there in time, cannot be reached, or is of another
history, the primary serves the read: a standby can make reads cheaper, never different.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from factstr_server.stores.postgres.continuity import Continuity
from factstr_server.stores.postgres.link import open_pool
from factstr_server.stores.postgres.location import Location
from factstr_server.stores.postgres.statements import Statements

REACH_SECONDS: Final = 1.0
"""How long a read waits for the standby to replay what it needs."""

_LOOK_AGAIN_SECONDS: Final = 0.01
_LEFT_ALONE_SECONDS: Final = 5.0
"""For how long a standby that failed a read is not asked again."""

_log = logging.getLogger(__name__)

T = TypeVar("T")

Digest = tuple[object, object]
"""When a fact was committed, and the digest of its framing."""


class Unfit(Exception):
    """The standby cannot serve this read, and the primary should."""


class Replica:
    """One standby. Reads may run concurrently."""

    def __init__(
        self,
        location: Location,
        statements: Statements,
        continuity: Continuity,
        on_primary: Callable[[int], Awaitable[Digest]],
    ) -> None:
        """`on_primary` tells what the primary holds under a sequence number."""
        self._location = location
        self._sql = statements
        self._continuity = continuity
        self._on_primary = on_primary
        self._pool: AsyncConnectionPool | None = None
        self._replayed = 0
        """How far it has certainly come."""
        self._left_alone_until = 0.0

    async def open(self) -> None:
        """Does not wait for the standby to answer."""
        self._pool = await open_pool(self._location, self._check)

    async def close(self) -> None:
        if self._pool:
            await self._pool.close(timeout=1)

    async def read(self, up_to: int, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Raises Unfit."""
        loop = asyncio.get_running_loop()
        if self._pool is None or loop.time() < self._left_alone_until:
            raise Unfit
        try:
            async with self._pool.connection(timeout=REACH_SECONDS) as connection:
                if up_to > self._replayed:
                    await self._reach(connection, up_to)
                return await read(connection)
        except (psycopg.Error, PoolTimeout, OSError, Unfit) as error:
            self._left_alone_until = loop.time() + _LEFT_ALONE_SECONDS
            _log.warning("the read store is left alone for a while: %s", str(error).partition("\n")[0])
            raise Unfit from error

    async def _reach(self, connection: AsyncConnection, up_to: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + REACH_SECONDS
        while True:
            history_id, head, _ = await self._state(connection)
            if history_id != self._continuity.info.history_id:
                raise Unfit("it is of another history")
            self._replayed = max(self._replayed, head)
            if head >= up_to:
                return
            if loop.time() >= until:
                raise Unfit(f"it has replayed {head} of {up_to} facts")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _check(self, connection: AsyncConnection) -> None:
        """A new connection may lead to another standby, or to a former primary that has gone its own way."""
        self._replayed = 0
        _, head, newest = await self._state(connection)
        if head and await self._on_primary(head) != newest:
            await connection.close()
            raise psycopg.OperationalError("the read store does not hold what the store holds")

    async def _state(self, connection: AsyncConnection) -> tuple[str, int, Digest]:
        cursor = await connection.execute(
            self._sql(
                """
                SELECT s.history_id::text, h.sequence_number, n.occurred_at, md5(n.framing)
                FROM {schema}.store AS s CROSS JOIN {schema}.head AS h
                LEFT JOIN {schema}.records AS n ON n.sequence_number = h.sequence_number
                """
            )
        )
        row = await cursor.fetchone()
        if row is None:
            raise Unfit("it holds no store")
        return row[0], row[1], (row[2], row[3])
