"""What PostgreSQL's errors mean to a caller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import AsyncConnection, errors

from factstr_server.contract.errors import (
    Refusal,
    StoreDisconnected,
    store_corrupt,
    store_full,
    store_unavailable,
)
from factstr_server.stores.protocol import StoreError

LOST: Final = "the connection to PostgreSQL is lost"

_PASSING = (
    # Somebody holds a lock, an administrator ended a statement, or two transactions waited for each other.
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    # The server to which this connection leads has become a standby, or goes away.
    errors.ReadOnlySqlTransaction,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.TooManyConnections,
)

_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)


def connection_lost(connection: AsyncConnection, error: BaseException) -> bool:
    """Whether the connection is of no use any more: it has ended, or leads to a server that takes no writes."""
    return connection.closed or isinstance(error, errors.ReadOnlySqlTransaction)


@contextmanager
def translated_errors(in_doubt: Callable[[], Refusal] | None = None) -> Iterator[None]:
    """PostgreSQL's errors as refusals. What fails without a word of its own has lost its connection: that promises that
    nothing was committed, unless the commit may have been under way, which is then in doubt.
    """
    try:
        yield
    except errors.DiskFull:
        raise store_full() from None
    except _DAMAGED as error:
        raise store_corrupt("PostgreSQL finds its files damaged") from error
    except errors.InsufficientPrivilege as error:
        raise store_unavailable("the database role lacks a right that it needs") from error
    except (errors.AdminShutdown, errors.CrashShutdown) as error:
        raise (in_doubt() if in_doubt else StoreDisconnected(_shown(error))) from error
    except _PASSING as error:
        raise StoreDisconnected(_shown(error)) from error
    except (psycopg.OperationalError, OSError, TimeoutError) as error:
        raise (in_doubt() if in_doubt else StoreDisconnected(_shown(error))) from error


@contextmanager
def told_to_people(name: str) -> Iterator[None]:
    """PostgreSQL's errors as StoreError, on one line."""
    try:
        yield
    except (psycopg.Error, OSError) as error:
        raise StoreError(f"cannot use {name}: {' '.join(str(error).split())}") from None


def first_line(error: BaseException) -> str:
    """What it is about; the rest shows where in a statement, or what else was tried."""
    return str(error).partition("\n")[0]


def _shown(error: BaseException) -> str:
    """Nothing of SQL or hosts leaves the server."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"PostgreSQL reports {error.sqlstate}"
    return LOST
