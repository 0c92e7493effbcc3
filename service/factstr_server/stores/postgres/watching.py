"""The watch over the primary: the link to it, and what happens through other servers.

States: connected -> lost -> connected -> ... -> closed. One task keeps the link: while connected it looks where the log
ends, whenever another server says so and at the latest after a moment, and tells the others that this server lives.
When the link is lost it makes a new one, with all connections anew.

Invariants:
- Nothing is read or written through a connection before it has passed the look of `continuity`.
- The listener hears that the store answers only after that, and that it does not before a new link is tried.
- This server's leases last no longer than `statements.SILENCE` after its last heartbeat.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql

from factstr_server.contract.errors import Refusal, StoreDisconnected
from factstr_server.stores.postgres.continuity import Continuity, LogEnd
from factstr_server.stores.postgres.link import Link, answered_within, open_link
from factstr_server.stores.postgres.location import Location
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.translation import LOST, first_line
from factstr_server.stores.protocol import StoreListener

HEARTBEAT_SECONDS: Final = 5.0

_LOOK_SECONDS: Final = 1.0
_LOOK_SECONDS_WITHOUT_LISTEN: Final = 0.1
"""After which the watch looks although nobody said anything."""

_LOOKS_APART_SECONDS: Final = 0.05
_ANNOUNCEMENTS_APART_SECONDS: Final = 0.02
"""So that ten servers that commit all the time do not spend it with telling each other."""

_LONGEST_SILENCE_SECONDS: Final = 10.0
"""After which a link is given up."""

_LONGEST_COMMIT_SILENCE_SECONDS: Final = 30.0
"""After which it is given up when the database waits for what a commit says all the time; a large one takes a while."""

_CONNECT_AGAIN_SECONDS: Final = (0.1, 0.2, 0.4, 0.8)

_log = logging.getLogger(__name__)


class Watch:
    """Used by one event loop."""

    def __init__(
        self, location: Location, statements: Statements, continuity: Continuity, server_id: UUID
    ) -> None:
        self._location = location
        self._sql = statements
        self._continuity = continuity
        self._server_id = server_id
        self.listener: StoreListener | None = None
        self._link: Link | None = None
        self._problem = LOST
        """Why there is none."""
        self._old: Link | None = None
        """That was lost, and is not closed yet."""
        self._connected = asyncio.Event()
        self._look_now = asyncio.Event()
        self._announce_now = asyncio.Event()
        self._others = 0
        self._commit_began: float | None = None
        """When, by the loop's clock; None while none is under way."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, link: Link) -> None:
        """With a link that has passed its looks."""
        self._link = link
        self._connected.set()
        self._tasks = [
            asyncio.create_task(self._keep(), name="postgres-watch"),
            asyncio.create_task(self._announce(), name="postgres-announce"),
        ]

    async def close(self) -> None:
        """Idempotent."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Again and again: Python 3.11 loses a cancellation that comes just when the pool gives a connection.
            _, unfinished = await asyncio.wait(self._tasks, timeout=0.1)
            self._tasks = list(unfinished)
        await self._let_go()

    def link(self) -> Link:
        """Raises StoreDisconnected."""
        if self._link is None:
            raise StoreDisconnected(self._problem)
        return self._link

    async def link_within(self, seconds: float) -> Link:
        """The link, now or when it is there again. Raises StoreDisconnected."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._connected.wait()
        return self.link()

    def lost(self, link: Link) -> None:
        """Somebody found it broken."""
        if self._link is link:
            self._disconnected()
        self._look_now.set()

    def doubt(self) -> None:
        """One of its connections was broken: whether the others are will be seen."""
        self._look_now.set()

    def announce(self) -> None:
        """Tells other servers, if there are any, to look."""
        if self._others:
            self._announce_now.set()

    @contextmanager
    def over_commit(self) -> Iterator[None]:
        """While a commit is under way, the link is given up also when the commit's connection alone is dead."""
        self._commit_began = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._commit_began = None

    async def _keep(self) -> None:
        """Ends when it is cancelled."""
        failures = 0
        while True:
            try:
                if self._link is None:
                    await self._let_go()
                    self._connected_to(await self.new_link())
                    _log.info("connected to PostgreSQL again")
                failures = 0
                await self._watch(self.link())
            except StoreDisconnected as error:
                if self._link or self._problem != error.problem:
                    _log.warning("the store cannot be used: %s", error.problem)
                self._problem = error.problem
            except (psycopg.Error, OSError, TimeoutError, Refusal) as error:
                if self._link or not failures:
                    _log.warning("PostgreSQL does not answer: %s", first_line(error))
                self._problem = LOST
            except Exception:  # noqa: BLE001  (a defect must not end the watch)
                _log.exception("the watch over PostgreSQL failed unexpectedly")
            self._disconnected()
            await asyncio.sleep(_CONNECT_AGAIN_SECONDS[min(failures, len(_CONNECT_AGAIN_SECONDS) - 1)])
            failures += 1

    async def new_link(self) -> Link:
        """One that has passed its looks, and whose leases count. Raises psycopg.Error, OSError, TimeoutError."""
        # Connecting has limits of its own, for each host.
        link = await open_link(self._location, self._look)
        try:
            await self._beat(link)
        except BaseException:
            await link.close()
            raise
        return link

    def _connected_to(self, link: Link) -> None:
        self._link = link
        self._connected.set()
        if self.listener:
            self.listener.available(True)

    def _disconnected(self) -> None:
        """The link is closed by the task that keeps it."""
        if self._link is None:
            return
        self._old, self._link = self._link, None
        self._connected.clear()
        if self.listener:
            self.listener.available(False)

    async def _let_go(self) -> None:
        old, self._old = self._old or self._link, None
        self._link = None
        self._connected.clear()
        if old:
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await old.close()

    async def _watch(self, link: Link) -> None:
        """Until the link is lost: then it raises or returns."""
        connection = link.watching
        if self._location.listen:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._location.schema)))
        loop = asyncio.get_running_loop()
        heartbeat_due = loop.time() + HEARTBEAT_SECONDS
        while self._link is link:
            self._look_now.clear()
            if loop.time() >= heartbeat_due:
                await self._beat(link)
                heartbeat_due = loop.time() + HEARTBEAT_SECONDS
            end = await self._look(connection)
            if self._commit_began and loop.time() - self._commit_began > _LONGEST_COMMIT_SILENCE_SECONDS:
                await self._check_committing(link)
            self._others = end.other_servers
            if self.listener:
                self.listener.head_seen(end.head)
                self.listener.streams_changed()
            await self._news(link)

    async def _look(self, connection: AsyncConnection) -> LogEnd:
        """A server that hangs answers no look, although its connections live: another one may be the primary now."""
        async with answered_within(connection, _LONGEST_SILENCE_SECONDS):
            return await self._continuity.look(connection)

    async def _check_committing(self, link: Link) -> None:
        """A commit may take long, in which the database works or waits. When it waits for this server instead, what one
        of them has sent does not arrive. Raises TimeoutError.
        """
        if not self._location.listen:
            return  # Behind a pooler nobody knows which connection of the database it is.
        async with answered_within(link.watching, _LONGEST_SILENCE_SECONDS):
            cursor = await link.watching.execute(
                "SELECT FROM pg_stat_activity WHERE pid = %s AND (wait_event_type <> 'Client' "
                "OR wait_event_type IS NULL OR state_change > clock_timestamp() - make_interval(secs => %s))",
                (link.writing.info.backend_pid, _LONGEST_COMMIT_SILENCE_SECONDS),
            )
            if not await cursor.fetchall():
                raise TimeoutError("what a commit says does not arrive")

    async def _beat(self, link: Link) -> None:
        """Says that this server lives; without it no lease of its counts. It does not wait for a standby: a server must
        be able to read when none answers, and a lost heartbeat costs a lease at most.
        """
        async with (
            answered_within(link.watching, _LONGEST_SILENCE_SECONDS),
            link.watching.pipeline(),
        ):
            await link.watching.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            await link.watching.execute("SELECT set_config('synchronous_commit', 'off', true)")
            await link.watching.execute(
                self._sql(
                    """
                    WITH forgotten AS (
                        DELETE FROM {schema}.servers WHERE heartbeat_at < clock_timestamp() - interval '1 day'
                    )
                    INSERT INTO {schema}.servers VALUES (%s, clock_timestamp(), clock_timestamp())
                    ON CONFLICT (server_id) DO UPDATE SET heartbeat_at = clock_timestamp()
                    """
                ),
                (self._server_id,),
            )
            await link.watching.execute("COMMIT")

    async def _news(self, link: Link) -> None:
        """Waits until another server says something, something here asks for a look, or a moment has passed."""
        await asyncio.sleep(_LOOKS_APART_SECONDS)
        asked = asyncio.create_task(self._look_now.wait())
        told = asyncio.create_task(self._told(link))
        try:
            await asyncio.wait((asked, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            told.cancel()
        await asyncio.wait((told,))
        if not told.cancelled():
            told.result()

    async def _told(self, link: Link) -> None:
        if not self._location.listen:
            await asyncio.sleep(_LOOK_SECONDS_WITHOUT_LISTEN)
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + _LOOK_SECONDS
        while (left := until - loop.time()) > 0:
            async for notice in link.watching.notifies(timeout=left, stop_after=1):
                if notice.payload != str(self._server_id):
                    return

    async def _announce(self) -> None:
        """Ends when it is cancelled. What is said is only a hint, so that what fails is left alone."""
        while True:
            await self._announce_now.wait()
            self._announce_now.clear()
            with suppress(psycopg.Error, OSError, Refusal):
                async with self.link().borrow(_LONGEST_SILENCE_SECONDS) as connection:
                    await connection.execute(
                        "SELECT pg_notify(%s, %s)", (self._location.schema, str(self._server_id))
                    )
            await asyncio.sleep(_ANNOUNCEMENTS_APART_SECONDS)
