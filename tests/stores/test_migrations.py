"""Formats: stores are brought to this version's by `migrate` or by the first server, and newer ones are left alone."""

import asyncio
import os
import sys
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

import pytest

from factstr_server.contract.errors import StoreDisconnected
from factstr_server.stores import sqlite
from factstr_server.stores.migration import Migration
from factstr_server.stores.offline import migrate_store
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreError, StoreOptions
from tests.conformance.driver import NewFact
from tests.conformance.matrix import STORES, StoreKind
from tests.conformance.streams import eventually
from tests.copying.content import connected, select
from tests.postgres.fresh import fresh_url
from tests.stores.opened import commit, opened, url_of
from tests.waiting import until

NEWEST = 2

PERSISTENT = [kind for kind in STORES if kind.persists]


@pytest.fixture(params=PERSISTENT, ids=lambda kind: kind.name)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind: StoreKind = request.param
    return kind.url(tmp_path)


def say_format(url: str, number: int) -> None:
    sqlite = url.startswith("sqlite")
    select(
        url, f"PRAGMA user_version = {number}" if sqlite else f"UPDATE schema_format SET format = {number}"
    )


async def test_a_store_is_created_once(url: str) -> None:
    assert await migrate_store(url) == Migration(None, NEWEST)
    assert await migrate_store(url) == Migration(NEWEST, NEWEST)
    async with opened(url) as store:
        assert (await commit(store, NewFact())).first_sequence_number == 1
    assert await migrate_store(url) == Migration(NEWEST, NEWEST)
    async with opened(url) as store:
        assert await store.head() == 1


async def test_an_earlier_format_is_brought_to_this_one(url: str) -> None:
    await migrate_store(url)
    make_first_format(url)
    assert await migrate_store(url) == Migration(1, NEWEST)
    async with opened(url) as store:
        assert (await commit(store, NewFact())).first_sequence_number == 1


def make_first_format(url: str) -> None:
    """Of a store of this version's format, which holds nothing."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
        select(url, (Path(sqlite.__path__[0]) / "schema" / "0001_log.sql").read_text(encoding="utf-8"))
        select(url, "INSERT INTO store VALUES (1, 'it', 'h', 0); PRAGMA application_id = 0x46414354")
    else:
        # What the second one makes, by whatever name.
        select(
            url,
            """
            DO $$
            DECLARE made record;
            BEGIN
                FOR made IN
                    SELECT oid::regprocedure AS name FROM pg_proc
                    WHERE pronamespace = current_schema()::regnamespace
                LOOP
                    EXECUTE format('DROP FUNCTION %s', made.name);
                END LOOP;
            END
            $$
            """,
        )
    say_format(url, 1)


async def test_a_newer_format_is_refused_and_left_alone(url: str) -> None:
    await migrate_store(url)
    say_format(url, 99)
    for attempt in (migrate_store(url), store_by_url(url, StoreOptions()).open()):
        with pytest.raises(StoreError, match="has format 99, written by a newer version") as caught:
            await attempt
        assert "upgrade it" in str(caught.value)


async def test_a_server_leaves_a_schema_alone_while_it_has_a_newer_format(tmp_path: Path) -> None:
    """From the first commit after the migration on; and without one, as soon as it looks."""
    url = fresh_url(tmp_path)
    store = store_by_url(url, StoreOptions(unavailable_wait=timedelta(seconds=0.1)))
    await store.open()
    try:
        for number in (1, 2):
            assert (await commit(store, NewFact())).first_sequence_number == number
            say_format(url, 99)
            if number == 1:
                await refused_for_its_format(commit(store, NewFact()))
            await eventually(lambda: refused(store.head()), lambda is_refused: is_refused)
            await refused_for_its_format(store.head())
            await refused_for_its_format(commit(store, NewFact()))
            say_format(url, NEWEST)
            await eventually(lambda: refused(store.head()), lambda is_refused: not is_refused)
        assert (await commit(store, NewFact())).first_sequence_number == 3
    finally:
        await store.close()


async def refused_for_its_format(call: Awaitable[object]) -> None:
    with pytest.raises(
        StoreDisconnected, match=r"has format 99, written by a newer version; .*nothing was committed"
    ):
        await call


async def refused(call: Awaitable[object]) -> bool:
    try:
        await call
    except StoreDisconnected:
        return True
    return False


async def test_a_migration_lets_a_commit_end_that_has_begun(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    await migrate_store(url)
    make_first_format(url)
    with connected(url) as committing, connected(url) as watching:
        committing.execute("BEGIN; SELECT FROM head FOR UPDATE")
        migrating = asyncio.create_task(migrate_store(url))
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND pid <> %s"
        await until(
            lambda: watching.execute(waiting, [watching.info.backend_pid]).fetchone() is not None, "it waits"
        )
        assert watching.execute("SELECT format FROM schema_format").fetchone() == (1,)
        committing.execute("COMMIT")
        assert await migrating == Migration(1, NEWEST)


async def test_a_file_that_a_server_uses_is_not_migrated(tmp_path: Path) -> None:
    url = url_of(tmp_path / "facts.db")
    async with opened(url):
        with pytest.raises(StoreError, match="in use by another server"):
            await migrate_store(url)


async def test_a_memory_store_is_not_migrated() -> None:
    with pytest.raises(StoreError, match="it cannot be migrated"):
        await migrate_store("memory:")


async def test_ten_servers_open_the_same_new_schema_at_once(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    stores = [store_by_url(url, StoreOptions()) for _ in range(10)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        assert len({store.info for store in stores}) == 1
        for number, store in enumerate(stores, 1):
            assert (await commit(store, NewFact())).first_sequence_number == number
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_ten_processes_migrate_the_same_new_schema_at_once_and_one_creates_it(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")}
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "factstr_server", "migrate", "--store", url),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        for _ in range(10)
    ]
    said = [(await process.communicate())[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10
    assert sorted(line.partition(": ")[2] for line in said) == [
        f"created, with format {NEWEST}\n",
        *[f"has format {NEWEST} already; nothing to do\n"] * 9,
    ]


async def test_a_role_whose_defaults_are_strict_can_migrate_beside_others(tmp_path: Path) -> None:
    """Such as an isolation in which nobody sees what others did meanwhile, and time limits."""
    options = "-c default_transaction_isolation=serializable -c statement_timeout=5s -c lock_timeout=1ms"
    url = f"{fresh_url(tmp_path)}&options={options.replace(' ', '%20').replace('=', '%3D')}"
    done = await asyncio.gather(*(migrate_store(url) for _ in range(5)))
    assert sorted(done, key=lambda each: each.before or 0) == [
        Migration(None, NEWEST),
        *[Migration(NEWEST, NEWEST)] * 4,
    ]
