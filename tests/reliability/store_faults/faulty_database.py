"""A PostgreSQL in which something goes wrong, for a while, as servers on one schema see it.

Triggers raise errors, or sleep, where an append writes and where it commits (a constraint trigger that is deferred runs
in the COMMIT); a superuser takes locks, ends sessions and statements, and gives the servers' role no connections; the
proxy before it loses COMMITs and their answers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from random import Random
from typing import Final, LiteralString, Self

import psycopg
from psycopg import sql

from tests.conformance.streams import Batch
from tests.failover.proxy import Cut, Proxy
from tests.postgres.cluster import Cluster
from tests.reliability.load.logs import log_in_schema
from tests.waiting import until

ROLE: Final = "served"

_MAKE: Final[LiteralString] = """
CREATE ROLE served LOGIN;
GRANT CREATE ON DATABASE postgres TO served;
CREATE SCHEMA trouble;
CREATE TABLE trouble.faults (place text, code text, one_in integer, seconds float, seed bigint);
CREATE SEQUENCE trouble.asked;
CREATE SEQUENCE trouble.met;
CREATE FUNCTION trouble.meet() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    fault record;
BEGIN
    FOR fault IN SELECT * FROM trouble.faults WHERE place = TG_ARGV[0] LOOP
        -- Instead of random(), which follows no seed of ours.
        IF hashint8extended(nextval('trouble.asked'), fault.seed) % fault.one_in = 0 THEN
            -- Not undone with the transaction.
            PERFORM nextval('trouble.met');
            PERFORM pg_sleep(fault.seconds);
            IF fault.code <> '' THEN
                RAISE EXCEPTION 'as asked' USING ERRCODE = fault.code;
            END IF;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
"""
_TRIGGERS: Final[LiteralString] = """
CREATE TRIGGER trouble BEFORE INSERT ON {schema}.records
    FOR EACH STATEMENT EXECUTE FUNCTION trouble.meet('records');
CREATE TRIGGER trouble BEFORE INSERT ON {schema}.idempotency_keys
    FOR EACH STATEMENT EXECUTE FUNCTION trouble.meet('keys');
CREATE TRIGGER trouble BEFORE INSERT OR UPDATE ON {schema}.durable_streams
    FOR EACH STATEMENT EXECUTE FUNCTION trouble.meet('streams');
CREATE CONSTRAINT TRIGGER trouble_at_commit AFTER INSERT ON {schema}.records DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION trouble.meet('commit');
CREATE CONSTRAINT TRIGGER trouble_at_commit AFTER INSERT OR UPDATE ON {schema}.durable_streams
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trouble.meet('commit');
"""
_PLACES: Final = ("records", "keys", "streams", "commit", "commit")
_CODES: Final = {
    "53100": "disk full",
    "58030": "I/O errors",
    "53200": "out of memory",
    "40001": "serialization failures",
}
_DEFECT: Final = "XX000"

_LONGEST_SECONDS: Final = 0.8
"""Of one trouble. Longer than servers wait for their store."""


KINDS: Final = (
    *("errors",) * 4,
    "slowness",
    *("lost COMMITs",) * 3,
    "ended sessions",
    "cancelled statements",
    "no connections",
    "locks",
)
"""Of trouble that a server knows what to say of; the more often, the likelier."""

DEFECTS: Final = "internal errors"
"""The kind of trouble that it does not."""


class FaultyDatabase:
    """One schema of a cluster. Harmless, but for its times of trouble."""

    def __init__(
        self, superuser: psycopg.AsyncConnection, proxy: Proxy, cluster: Cluster, schema: str, chance: Random
    ) -> None:
        self.schema = schema
        self._superuser = superuser
        self._proxy = proxy
        self._cluster = cluster
        self._chance = chance

    @staticmethod
    def prepare(cluster: Cluster) -> None:
        """Once."""
        with cluster.connect() as connection:
            connection.execute(_MAKE)

    @classmethod
    @asynccontextmanager
    async def of(cls, cluster: Cluster, schema: str, chance: Random) -> AsyncIterator[Self]:
        async with (
            Proxy.to(cluster.port) as proxy,
            await psycopg.AsyncConnection.connect(cluster.url(), autocommit=True) as superuser,
        ):
            yield cls(superuser, proxy, cluster, schema, chance)

    @property
    def url(self) -> str:
        """As servers are given it."""
        return f"postgresql://{ROLE}@127.0.0.1:{self._proxy.port}/postgres?schema={self.schema}"

    def log(self) -> list[Batch]:
        """In one step of the loop: what is answered later is not known yet."""
        with self._cluster.connect() as connection:
            return log_in_schema(connection, self.schema)

    async def set_traps(self) -> None:
        """Once the tables are there."""
        await self._superuser.execute(sql.SQL(_TRIGGERS).format(schema=sql.Identifier(self.schema)))

    async def trouble(self, kind: str, counts: Counter[str]) -> None:
        """One time of it, from beginning to end."""
        kinds: Mapping[str, Callable[[Counter[str]], Awaitable[None]]] = {
            "errors": self._errors,
            DEFECTS: self._defects,
            "slowness": self._slowness,
            "lost COMMITs": self._lost_commits,
            "ended sessions": self._ended_sessions,
            "cancelled statements": self._cancelled_statements,
            "no connections": self._no_connections,
            "locks": self._locks,
        }
        await kinds[kind](counts)

    async def _errors(self, counts: Counter[str]) -> None:
        code = self._chance.choice(list(_CODES))
        place = self._chance.choice(_PLACES)
        counts[f"PostgreSQL: {_CODES[code]}"] += await self._faults(place, code, 0)

    async def _defects(self, counts: Counter[str]) -> None:
        place = self._chance.choice(_PLACES)
        counts["PostgreSQL: internal errors"] += await self._faults(place, _DEFECT, 0)

    async def _slowness(self, counts: Counter[str]) -> None:
        place = self._chance.choice(_PLACES)
        counts["PostgreSQL: stalled"] += await self._faults(place, "", self._chance.random())

    async def _faults(self, place: str, code: str, seconds: float) -> int:
        """How many there were."""
        before = await self._met()
        await self._superuser.execute(
            "INSERT INTO trouble.faults VALUES (%s, %s, %s, %s, %s)",
            (place, code, self._chance.choice((1, 3, 20)), seconds, self._chance.getrandbits(32)),
        )
        await self._a_while()
        await self._superuser.execute("DELETE FROM trouble.faults")
        return await self._met() - before

    async def _met(self) -> int:
        cursor = await self._superuser.execute("SELECT last_value, is_called FROM trouble.met")
        row = await cursor.fetchone()
        assert row
        return int(row[0]) if row[1] else 0

    async def _lost_commits(self, counts: Counter[str]) -> None:
        for _ in range(self._chance.choice((2, 5))):
            cuts = self._proxy.cuts + 1
            when = self._chance.choice(list(Cut))
            self._proxy.cut_next_commit(when, and_all_else=self._chance.random() < 0.3)
            await until(partial(self._has_cut, cuts), "a COMMIT is cut")
            counts["PostgreSQL: COMMITs or their answers lost"] += 1
            if not self._proxy.reachable:
                await self._a_while()
                self._proxy.reachable = True

    def _has_cut(self, cuts: int) -> bool:
        return self._proxy.cuts >= cuts

    async def _ended_sessions(self, counts: Counter[str]) -> None:
        counts["PostgreSQL: sessions ended"] += await self._signal("pg_terminate_backend")

    async def _cancelled_statements(self, counts: Counter[str]) -> None:
        for _ in range(20):
            counts["PostgreSQL: statements cancelled"] += await self._signal("pg_cancel_backend")
            await asyncio.sleep(0.01)

    async def _signal(self, function: LiteralString) -> int:
        """To some of the sessions; how many."""
        cursor = await self._superuser.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = %s ORDER BY backend_start", (ROLE,)
        )
        share = self._chance.choice((0.3, 1.0))
        pids = [pid for (pid,) in await cursor.fetchall() if self._chance.random() < share]
        for pid in pids:
            await self._superuser.execute(
                sql.SQL("SELECT {function}(%s)").format(function=sql.Identifier(function)), (pid,)
            )
        return len(pids)

    async def _no_connections(self, counts: Counter[str]) -> None:
        await self._superuser.execute("ALTER ROLE served CONNECTION LIMIT 0")
        await self._ended_sessions(counts)
        await self._a_while()
        await self._superuser.execute("ALTER ROLE served CONNECTION LIMIT -1")
        counts["PostgreSQL: times without connections"] += 1

    async def _locks(self, counts: Counter[str]) -> None:
        table = self._chance.choice(("head", "records", "durable_streams"))
        lock = sql.SQL("LOCK TABLE {}").format(sql.Identifier(self.schema, table))
        with suppress(psycopg.errors.DeadlockDetected):
            async with self._superuser.transaction():
                await self._superuser.execute(lock)
                await self._a_while()
        counts["PostgreSQL: tables locked"] += 1

    async def _a_while(self) -> None:
        await asyncio.sleep(self._chance.random() * _LONGEST_SECONDS)
