"""Transactions that write: what every one of them begins with, and how one that failed ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from psycopg import AsyncConnection, errors, sql

from factstr_server.stores.postgres.statements import Statements

LONGEST_LOCK_SECONDS: Final = 2.0
"""For which one try of a commit waits for a lock; the group is then tried again, and those who have waited long enough
are told.
"""

HUNG_SECONDS: Final = 10.0
"""For which a server may leave its transaction alone, until whoever waits for the head row ends it."""

_BEGIN: Final = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
_SETTINGS: Final = sql.SQL(
    """
    SELECT
        set_config('synchronous_commit', CASE current_setting('synchronous_commit')
            WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on'
        END, true),
        set_config('client_min_messages', 'warning', true),
        set_config('lock_timeout', %s, true),
        set_config('statement_timeout', '0', true),
        set_config('idle_in_transaction_session_timeout', '10s', true)
    """
)
_SETTINGS_SINCE_17: Final = _SETTINGS + sql.SQL(", set_config('transaction_timeout', '0', true)")

_failures: Final = count()


async def begin(connection: AsyncConnection, wait_seconds: float) -> None:
    """Begins a transaction whose commit is durable and has no time limit, and which waits for locks so long at most.
    A server that hangs in it is ended by the database, so that it keeps no locks; not in a pipeline, see
    `end_hung_commits`. Settings end with the transaction, so that they hold behind a transaction pooler too. In a
    pipeline it costs no round trip.
    """
    await connection.execute(_BEGIN)
    settings = _SETTINGS if connection.info.server_version < 170_000 else _SETTINGS_SINCE_17
    await connection.execute(settings, (f"{int(wait_seconds * 1000)}ms",))


async def end_hung_commits(connection: AsyncConnection, statements: Statements) -> bool:
    """Ends the transactions of servers, this one's own of before too, that hold the head row and have been waiting for
    their server for long: it hangs, or is cut off without a sign. Whether there were any.

    PostgreSQL does not do so by itself. It counts no idle time from the first message of a pipeline to its Sync, nor
    from the Flush on that psycopg sends behind the Sync, for as long as the connection seems to live.
    """
    cursor = await connection.execute(
        statements(
            """
            SELECT pg_terminate_backend(a.pid)
            FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid
            WHERE a.datname = current_database() AND a.application_name = current_setting('application_name')
                AND a.wait_event_type = 'Client' AND a.state_change < clock_timestamp() - make_interval(secs => %s)
                AND l.relation = '{schema}.head'::regclass AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
            """
        ),
        (HUNG_SECONDS,),
    )
    return bool(await cursor.fetchall())


async def roll_back_failed(connection: AsyncConnection) -> None:
    """Ends a transaction in which something failed. Psycopg takes statements for prepared that PostgreSQL has passed
    over, because they followed in the same pipeline, and would use them for ever. It forgets them at a ROLLBACK, if
    that is one that it has not seen before.
    """
    await connection.execute(sql.SQL("ROLLBACK -- {}").format(sql.Literal(next(_failures))))


@contextmanager
def warnings_heard(connection: AsyncConnection) -> Iterator[list[str]]:
    """What PostgreSQL warns of. At a COMMIT: that an administrator has ended the wait for a synchronous standby."""
    warnings: list[str] = []

    def heard(notice: errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    connection.add_notice_handler(heard)
    try:
        yield warnings
    finally:
        connection.remove_notice_handler(heard)
