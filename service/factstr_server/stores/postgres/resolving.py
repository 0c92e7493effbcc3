"""What became of a commit whose answer was lost: the next link is asked.

    wait until its transaction is over; look whether its newest fact stands; wait until what is seen is durable

Of one that only moves cursors it is enough that it is over: moving them again does no harm.
"""

import asyncio
from typing import Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, errors

from factstr_server.contract.errors import StoreDisconnected, outcome_unknown
from factstr_server.stores.postgres.continuity import Mark
from factstr_server.stores.postgres.link import Link
from factstr_server.stores.postgres.reading import Reader
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.transactions import LONGEST_LOCK_SECONDS, begin, warnings_heard
from factstr_server.stores.postgres.watching import Watch

_LOOK_AGAIN_SECONDS: Final = 0.1
"""At a transaction that is still under way."""


class Attempt(NamedTuple):
    """A transaction whose COMMIT was sent."""

    transaction_id: int
    newest: Mark | None
    """The last fact it writes; None when it only moves cursors."""


class Resolver:
    """Uses the link's writing connection: the writer waits meanwhile."""

    def __init__(self, statements: Statements, reader: Reader, watch: Watch, wait_seconds: float) -> None:
        self._sql = statements
        self._reader = reader
        self._watch = watch
        self._wait_seconds = wait_seconds

    async def find_out(self, attempt: Attempt) -> None:
        """Returns when the transaction is committed. Raises Refusal: StoreDisconnected when it certainly is not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_seconds
        while True:
            try:
                link = await self._watch.link_within(until - loop.time())
                if await self._is_over(link.writing, attempt.transaction_id):
                    break
            except StoreDisconnected:
                raise outcome_unknown() from None
            except (psycopg.Error, OSError):
                self._watch.lost(link)
            if loop.time() >= until:
                raise outcome_unknown()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        if not attempt.newest:
            raise StoreDisconnected("moving cursors again does no harm")
        if await self._stands(link, attempt.newest):
            await self._make_durable(link, until - loop.time())
        else:
            raise StoreDisconnected("the connection to PostgreSQL was lost, and nothing was committed")

    async def _is_over(self, connection: AsyncConnection, transaction_id: int) -> bool:
        try:
            cursor = await connection.execute("SELECT pg_xact_status(%s::text::xid8)", (str(transaction_id),))
            row = await cursor.fetchone()
        except errors.InvalidParameterValue:
            return True  # In the future: a standby that was promoted has never heard of it.
        return row is None or row[0] != "in progress"

    async def _stands(self, link: Link, newest: Mark) -> bool:
        """Whether the fact is in the log. What `pg_xact_status` says of a transaction would not be enough: after a
        failover its number may be another one's.
        """
        try:
            return await self._reader.digest(link.writing, newest.sequence_number) == newest[1:]
        except (psycopg.Error, OSError):
            self._watch.lost(link)
            raise outcome_unknown() from None

    async def _make_durable(self, link: Link, seconds: float) -> None:
        """What is seen may not have reached a synchronous standby, after the primary has crashed: a commit of this
        moment waits for everything before it.
        """
        try:
            with warnings_heard(link.writing) as warnings:
                async with asyncio.timeout(max(seconds, _LOOK_AGAIN_SECONDS)):
                    await begin(link.writing, min(self._wait_seconds, LONGEST_LOCK_SECONDS))
                    # Any lock makes a commit wait. This one is to be had although another server's commit, which has
                    # locked the head row, waits for the standby too.
                    await link.writing.execute(self._sql("SELECT FROM {schema}.store FOR KEY SHARE"))
                    await link.writing.execute("COMMIT")
        except (psycopg.Error, OSError, TimeoutError):
            self._watch.lost(link)
            raise outcome_unknown() from None
        if warnings:
            raise outcome_unknown()
