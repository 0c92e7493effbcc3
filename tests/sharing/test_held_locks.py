"""Somebody else holds a lock on a store's tables: a forgotten transaction, a backup, an administrator at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg
import pytest

from factstr_server.contract.errors import Reason, Refusal
from factstr_server.log.event_log import EventLog
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.postgres import store as postgres_store
from factstr_server.stores.postgres import transactions, writing
from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.driver import NewFact, of_type, refused
from tests.conformance.streams import PATIENCE_SECONDS, eventually
from tests.postgres.fresh import fresh_url
from tests.sharing.servers import serving
from tests.stores.opened import prepared

PATIENT: Final = timedelta(seconds=60)
IMPATIENT: Final = timedelta(seconds=0.3)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh place, on which a try waits for a lock only for a moment."""
    monkeypatch.setattr(writing, "LONGEST_LOCK_SECONDS", 0.1)
    return fresh_url(tmp_path)


@asynccontextmanager
async def log_on(url: str, wait: timedelta) -> AsyncIterator[EventLog]:
    log = EventLog(store_by_url(url, StoreOptions(unavailable_wait=wait)), unavailable_wait=wait)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@contextmanager
def held(url: str, statement: str) -> Iterator[None]:
    location = location_of(url)
    with psycopg.connect(location.conninfo) as connection:
        connection.execute(statement.format(schema=location.schema).encode())
        yield


def held_head(url: str) -> AbstractContextManager[None]:
    """Nobody else can commit."""
    return held(url, "SELECT FROM {schema}.head FOR UPDATE")


def transactions_that_wait(url: str) -> set[tuple[int, str]]:
    """Of servers, for a lock in this schema, now."""
    location = location_of(url)
    with psycopg.connect(location.conninfo) as connection:
        return {
            (pid, begun)
            for pid, begun in connection.execute(
                "SELECT pid, xact_start::text FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND strpos(query, %s) > 0",
                (location.schema,),
            )
        }


async def test_an_append_that_waits_for_a_lock_tries_again_and_again_until_it_has_it(url: str) -> None:
    """Between its tries those are told who have waited long enough."""
    async with log_on(url, PATIENT) as log:
        with held_head(url):
            appending = asyncio.create_task(log.append(prepared([NewFact()])))
            tries: set[tuple[int, str]] = set()

            async def seen() -> int:
                tries.update(await asyncio.to_thread(transactions_that_wait, url))
                return len(tries)

            await eventually(seen, lambda number: number >= 3)
            assert not appending.done()
        assert (await appending).first_sequence_number == 1


async def test_appends_that_waited_in_vain_for_a_lock_are_refused_and_later_ones_go_on(url: str) -> None:
    """Again and again: what a connection has prepared by then is different each time."""
    async with log_on(url, IMPATIENT) as log:
        head = 0
        for number in range(4):
            with held_head(url):
                for attempt in (
                    prepared([NewFact("a")]),
                    prepared([NewFact("a")], key=f"refused {number}"),
                    prepared([NewFact("a")], context=of_type("a"), expected=head or None),
                )[: number % 3 + 1]:
                    with pytest.raises(Refusal) as caught:
                        await log.append(attempt)
                    assert caught.value.reason is Reason.STORE_UNAVAILABLE
            for append in (
                prepared([NewFact("a")], context=of_type("a"), expected=head or None),
                prepared([NewFact("a")], key=f"key {number}"),
            ):
                head += 1
                assert (await log.append(append)).first_sequence_number == head
        assert await log.head() == head


@contextmanager
def hung_commit(url: str, *, of: str) -> Iterator[psycopg.Connection]:
    """It has locked the head row in a pipeline, and then says nothing any more."""
    location = location_of(url)
    with psycopg.connect(location.conninfo, autocommit=True, application_name=of) as connection:
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(b"SET LOCAL idle_in_transaction_session_timeout = '100ms'")
            connection.execute(f"SELECT FROM {location.schema}.head FOR UPDATE".encode())
        yield connection


async def test_a_server_that_hangs_in_a_commit_does_not_hold_up_the_others_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "HUNG_SECONDS", 0.5)
    async with log_on(url, PATIENT) as log:
        with hung_commit(url, of="factstr-server") as hung:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await log.append(prepared([NewFact()]))).first_sequence_number == 1
            with pytest.raises(psycopg.OperationalError):
                hung.execute("COMMIT")


async def test_a_commit_that_is_not_a_servers_is_left_alone_however_long_it_hangs(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "HUNG_SECONDS", 0.0)
    async with log_on(url, IMPATIENT) as log:
        with hung_commit(url, of="an administrator") as hung:
            for _ in range(3):
                with pytest.raises(Refusal):
                    await log.append(prepared([NewFact()]))
            hung.execute("COMMIT")
        assert (await log.append(prepared([NewFact()]))).first_sequence_number == 1


async def test_a_read_that_takes_too_long_is_given_up_and_others_go_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "_LONGEST_READ_SECONDS", 0.3)
    async with serving(url, unavailable_wait=IMPATIENT) as store, store.stream_all_durable("s") as stream:
        await stream.started()
        # As many as there are connections, so that none of them may be lost.
        with held(url, "LOCK TABLE {schema}.durable_streams"):
            reads = [asyncio.create_task(store.durable("s")) for _ in range(10)]
            for read in reads:
                with refused("STORE_UNAVAILABLE"):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await read
            assert (await store.append([NewFact()])).last == 1
            assert (await store.query()).numbers == [1]
        assert (await store.durable("s")).active
