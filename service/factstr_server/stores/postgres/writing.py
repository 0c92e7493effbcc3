"""A group's transaction: lock the head row, decide, write, commit.

    BEGIN; look up the conditions' contexts                            before the lock; only where there are any
    lock the head row; read keys, cursors, newer facts                 one round trip, else with BEGIN
    decide and encode                                                  in Python
    INSERT ...; UPDATE head; COMMIT                                    one round trip

Invariants:
- READ COMMITTED: what is read after the head row was locked, each in a statement of its own, is the newest there is,
  and nobody commits facts before this transaction ends. Locks are taken in the order head, cursors by name.
- The COMMIT is sent with what it commits, and is never cancelled. When its answer is lost, the next link is asked what
  became of it; only where that cannot be found out in time is the outcome unknown.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, AsyncCursor, errors
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import StoreDisconnected, outcome_unknown
from factstr_server.contract.limits import MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import EVERYTHING
from factstr_server.stores.deciding import GroupDecision, moved_streams
from factstr_server.stores.postgres.binary import byteas
from factstr_server.stores.postgres.conditions import Known, conditions_of, keys_of, look_up_versions
from factstr_server.stores.postgres.continuity import Continuity, Mark, mark
from factstr_server.stores.postgres.encoding import Rows, encoded_rows
from factstr_server.stores.postgres.link import Link
from factstr_server.stores.postgres.migrations import NEWEST_FORMAT, written_by_a_newer_version
from factstr_server.stores.postgres.reading import Found, Reader
from factstr_server.stores.postgres.resolving import Attempt, Resolver
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.times import microseconds, moment
from factstr_server.stores.postgres.transactions import (
    LONGEST_LOCK_SECONDS,
    begin,
    end_hung_commits,
    roll_back_failed,
    warnings_heard,
)
from factstr_server.stores.postgres.translation import connection_lost, translated_errors
from factstr_server.stores.postgres.watching import Watch
from factstr_server.stores.protocol import (
    Advance,
    Advanced,
    Committed,
    Outcome,
    Repeated,
    StoreOptions,
    Window,
)
from factstr_server.stores.stream_protocol import CursorState

_ENCODED_HERE: Final = 500
"""Facts of a larger group are encoded in a thread, so that the event loop goes on."""

_MOST_NEWER_FACTS: Final = 256
_MOST_NEWER_BYTES: Final = 256 * 1024
"""That are looked at one by one under the lock; of more, the index is asked."""

_STANDING: Final = (Committed, Repeated, Advanced)
"""Outcomes that say that something stands. What is only seen may not have reached a synchronous standby, after a crash:
so a COMMIT precedes them also where nothing is written. It waits, because the head row was locked.
"""

_log = logging.getLogger(__name__)


class _Locked(NamedTuple):
    """What a transaction holds, and has read."""

    transaction_id: int
    head: int
    occurred_at: datetime
    newer: Found | None
    """Facts above the position that was looked at before; None when nobody asked."""
    keys: dict[str, tuple[bytes, Committed]]
    cursors: dict[str, CursorState]


class Writer:
    """Commits groups, one at a time."""

    def __init__(
        self, statements: Statements, continuity: Continuity, watch: Watch, options: StoreOptions
    ) -> None:
        self._sql = statements
        self._reader = Reader(statements)
        self._continuity = continuity
        self._watch = watch
        self._retention = options.idempotency_retention
        self._wait_seconds = options.unavailable_wait.total_seconds()
        self._resolver = Resolver(statements, self._reader, watch, self._wait_seconds)

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        """Raises Refusal; StoreDisconnected where the same group may be tried again."""
        link = self._watch.link()
        with self._watch.over_commit(), translated_errors():
            try:
                decision, outcomes, locked = await self._decide(link.writing, group)
                if not any(isinstance(outcome, _STANDING) for outcome in outcomes):
                    await link.writing.execute("ROLLBACK")
                    return outcomes
                rows = await self._rows(decision)
            except BaseException as error:
                if await self._give_up(link, error) and isinstance(error, errors.LockNotAvailable):
                    await self._end_hung_commits(link)
                raise
            newest = None
            if rows:
                newest = mark(decision.accepted.head, locked.occurred_at, rows.last_framing)
            await self._write(link, decision, locked, rows, newest)
        if newest:
            self._continuity.committed(newest)
        self._watch.announce()
        return outcomes

    async def _decide(
        self, connection: AsyncConnection, group: Sequence[PreparedAppend | Advance]
    ) -> tuple[GroupDecision, list[Outcome], _Locked]:
        conditions = conditions_of(group, self._continuity.info.history_id)
        newest = self._continuity.known
        looked_at = newest.sequence_number
        known = Known(looked_at)
        if conditions:
            await self._begin(connection)
            await look_up_versions(self._reader, connection, conditions, known)
        locked = await self._lock(connection, group, newest, conditions=bool(conditions))
        known.head_now = locked.head
        if locked.newer and locked.newer.cut:
            for query, *_ in conditions:
                newer = await self._reader.version(connection, query, looked_at)
                if newer is not None:
                    known.versions[id(query)] = newer
        elif locked.newer:
            known.take_newer(locked.newer.candidates, conditions)
        decision = GroupDecision(known, locked.keys, locked.cursors, microseconds(locked.occurred_at))
        return decision, decision.decide_all(group), locked

    async def _lock(
        self,
        connection: AsyncConnection,
        group: Sequence[PreparedAppend | Advance],
        newest: Mark,
        *,
        conditions: bool,
    ) -> _Locked:
        """Raises StoreDisconnected where the log or its format is not what this server knows: it is looked at first."""
        async with connection.pipeline():
            if not conditions:
                await self._begin(connection)
            head = await connection.execute(
                self._sql(
                    """
                    SELECT pg_current_xact_id()::text::bigint, sequence_number, greatest(clock_timestamp(), occurred_at)
                    FROM {schema}.head FOR UPDATE
                    """
                )
            )
            there = await connection.execute(
                self._sql(
                    """
                    SELECT f.format, r.occurred_at, md5(r.framing)
                    FROM {schema}.schema_format AS f LEFT JOIN {schema}.records AS r ON r.sequence_number = %s
                    """
                ),
                (Int8(newest.sequence_number),),
            )
            keys = await self._ask_keys(connection, keys_of(group))
            cursors = await self._ask_cursors(connection, sorted(moved_streams(group)))
            newer = None
            if conditions:
                window = Window(newest.sequence_number)
                newer = await self._reader.ask(
                    connection, EVERYTHING, window, _MOST_NEWER_FACTS, _MOST_NEWER_BYTES
                )
        row = await head.fetchone()
        assert row, "the first migration makes it"
        transaction_id, sequence_number, occurred_at = row
        await self._check_same(there, newest)
        return _Locked(
            transaction_id,
            sequence_number,
            occurred_at,
            await self._reader.found(newer, _MOST_NEWER_FACTS, _MOST_NEWER_BYTES) if newer else None,
            await self._keys(keys, microseconds(occurred_at)) if keys else {},
            await self._cursors(cursors) if cursors else {},
        )

    async def _check_same(self, there: AsyncCursor, newest: Mark) -> None:
        """A migration has waited for the head row too: whoever has locked it sees the format that it commits in."""
        row = await there.fetchone()
        assert row, "the first migration makes it"
        found, *digest = row
        if found > NEWEST_FORMAT:
            self._watch.doubt()
            raise StoreDisconnected(f"its schema {written_by_a_newer_version(found)}")
        if tuple(digest) != newest[1:]:
            self._watch.doubt()
            raise StoreDisconnected("the log has lost its end")

    async def _ask_keys(self, connection: AsyncConnection, keys: list[str]) -> AsyncCursor | None:
        """In a pipeline the answer comes later."""
        if not keys:
            return None
        return await connection.execute(
            self._sql(
                """
                SELECT idempotency_key, fingerprint, first_sequence_number, last_sequence_number, occurred_at
                FROM {schema}.idempotency_keys WHERE idempotency_key = ANY(%s)
                """
            ),
            (keys,),
        )

    async def _keys(self, cursor: AsyncCursor, now: int) -> dict[str, tuple[bytes, Committed]]:
        """Those that have not expired, and what they stand for."""
        expire_before = now - self._retained_microseconds
        return {
            key: (fingerprint, Committed(first, last, at))
            for key, fingerprint, first, last, committed_at in await cursor.fetchall()
            if (at := microseconds(committed_at)) >= expire_before
        }

    async def _ask_cursors(self, connection: AsyncConnection, names: list[str]) -> AsyncCursor | None:
        """Locks them too."""
        if not names:
            return None
        return await connection.execute(
            self._sql(
                """
                SELECT durable_stream, lease_epoch, cursor FROM {schema}.durable_streams
                WHERE durable_stream = ANY(%s) ORDER BY durable_stream FOR UPDATE
                """
            ),
            (names,),
        )

    async def _cursors(self, cursor: AsyncCursor) -> dict[str, CursorState]:
        return {
            name: CursorState(lease_epoch, position)
            for name, lease_epoch, position in await cursor.fetchall()
        }

    @property
    def _retained_microseconds(self) -> int:
        return (
            MAX_SEQUENCE_NUMBER if self._retention is None else self._retention // timedelta(microseconds=1)
        )

    async def _rows(self, decision: GroupDecision) -> Rows | None:
        if not decision.batches:
            return None
        if decision.accepted.head - decision.batches[0].first_sequence_number < _ENCODED_HERE:
            return encoded_rows(decision)
        return await asyncio.to_thread(encoded_rows, decision)

    async def _write(
        self, link: Link, decision: GroupDecision, locked: _Locked, rows: Rows | None, newest: Mark | None
    ) -> None:
        """Writes and commits. When the answer is lost, it is found out."""
        try:
            with warnings_heard(link.writing) as warnings:
                async with link.writing.pipeline():
                    if rows:
                        await self._insert(link.writing, decision, locked, rows)
                    if decision.moved_cursors:
                        await self._move_cursors(link.writing, decision, locked)
                    await link.writing.execute("COMMIT")
        except BaseException as error:
            # Only what failed and was rolled back was certainly refused, and so its COMMIT. A connection that ends
            # after the COMMIT's result and before the end of its pipeline leaves an error and a committed group.
            refused = link.writing.info.transaction_status == TransactionStatus.INERROR
            if await self._give_up(link, error) and refused:
                raise
            await self._resolver.find_out(Attempt(locked.transaction_id, newest))
        else:
            if warnings:
                # It is committed here, and perhaps nowhere else.
                raise outcome_unknown()

    async def _insert(
        self, connection: AsyncConnection, decision: GroupDecision, locked: _Locked, rows: Rows
    ) -> None:
        await connection.execute(
            self._sql(
                """
                WITH moved AS (UPDATE {schema}.head SET sequence_number = %s, occurred_at = %s)
                INSERT INTO {schema}.records (
                    sequence_number, occurred_at, event_type, metadata, payload, framing, opening_bytes, payload_bytes,
                    terms
                )
                SELECT %s + u.place, %s, u.event_type, u.metadata, u.payload, u.framing, u.opening, u.bytes, u.terms
                FROM unnest(%b, %b, %b, %b, %b, %b, %b) WITH ORDINALITY
                    AS u (event_type, metadata, payload, framing, opening, bytes, terms, place)
                """
            ),
            (
                Int8(decision.accepted.head),
                locked.occurred_at,
                Int8(locked.head),
                locked.occurred_at,
                *rows[:-1],
            ),
        )
        larger = [batch for batch in decision.batches if batch[0] != batch[1]]
        if larger:
            await connection.execute(
                self._sql("INSERT INTO {schema}.batches SELECT * FROM unnest(%s::bigint[], %s::bigint[])"),
                ([Int8(first) for first, _, _ in larger], [Int8(last) for _, last, _ in larger]),
            )
        if decision.new_keys:
            await self._insert_keys(connection, decision, locked)

    async def _insert_keys(
        self, connection: AsyncConnection, decision: GroupDecision, locked: _Locked
    ) -> None:
        if self._retention is not None:
            # Expired keys go a few at a time, and at the latest when they are used again.
            await connection.execute(
                self._sql(
                    """
                    DELETE FROM {schema}.idempotency_keys WHERE first_sequence_number IN (
                        SELECT first_sequence_number FROM {schema}.idempotency_keys
                        ORDER BY first_sequence_number LIMIT 1000
                    ) AND occurred_at < %s
                    """
                ),
                (moment(microseconds(locked.occurred_at) - self._retained_microseconds),),
            )
        keys, fingerprints, firsts = zip(*decision.new_keys, strict=True)
        await connection.execute(
            self._sql(
                """
                INSERT INTO {schema}.idempotency_keys
                SELECT u.key, u.fingerprint, u.first, u.last, %s
                FROM unnest(%s::text[], %b, %s::bigint[], %s::bigint[]) AS u (key, fingerprint, first, last)
                ON CONFLICT (idempotency_key) DO UPDATE SET
                    fingerprint = excluded.fingerprint, first_sequence_number = excluded.first_sequence_number,
                    last_sequence_number = excluded.last_sequence_number, occurred_at = excluded.occurred_at
                """
            ),
            (
                locked.occurred_at,
                list(keys),
                byteas(fingerprints),
                [Int8(first.first_sequence_number) for first in firsts],
                [Int8(first.last_sequence_number) for first in firsts],
            ),
        )

    async def _move_cursors(
        self, connection: AsyncConnection, decision: GroupDecision, locked: _Locked
    ) -> None:
        moved = decision.moved_cursors
        await connection.execute(
            self._sql(
                """
                UPDATE {schema}.durable_streams AS d
                SET cursor = u.cursor, acknowledged_at = CASE WHEN u.acknowledged THEN %s ELSE d.acknowledged_at END
                FROM unnest(%s::text[], %s::bigint[], %s::boolean[]) AS u (name, cursor, acknowledged)
                WHERE d.durable_stream = u.name
                """
            ),
            (
                locked.occurred_at,
                list(moved),
                [Int8(cursor) for cursor, _ in moved.values()],
                [acknowledged for _, acknowledged in moved.values()],
            ),
        )

    async def _give_up(self, link: Link, error: BaseException) -> bool:
        """Leaves the transaction that was begun, if any. False when the connection had to be given up with it."""
        try:
            if not connection_lost(link.writing, error):
                await roll_back_failed(link.writing)
                return True
        except (psycopg.Error, OSError):
            pass
        self._watch.lost(link)
        return False

    async def _end_hung_commits(self, link: Link) -> None:
        try:
            if await end_hung_commits(link.writing, self._sql):
                _log.warning("a server that hung in a commit held up the others: its transaction was ended")
        except (psycopg.Error, OSError):
            pass  # It is tried again with the next commit that has waited in vain.

    async def _begin(self, connection: AsyncConnection) -> None:
        await begin(connection, min(self._wait_seconds, LONGEST_LOCK_SECONDS))
