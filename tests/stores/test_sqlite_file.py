"""The SQLite file: how it is kept, whose it is, and who may write it."""

# ruff: noqa: ASYNC221, ASYNC240  (the files are small, and nothing else runs in the loop)

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from factstr_server.server import Server, StartupError
from factstr_server.settings import Settings
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreError, StoreOptions
from factstr_server.stores.sqlite.database import check_sqlite_version
from tests.conformance.driver import NewFact
from tests.stores.opened import commit, opened, opened_sqlite, url_of


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "facts.db"


async def refusal(database: Path) -> str:
    """Why the store cannot be opened, in one line."""
    with pytest.raises(StoreError) as caught:
        async with opened_sqlite(database):
            pass
    message = str(caught.value)
    assert "\n" not in message
    assert str(database) in message
    return message


async def test_every_commit_is_synced_to_a_write_ahead_log(database: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact())
        assert store._writer is not None
        connection = store._writer.connection
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2
        assert database.with_name("facts.db-wal").stat().st_size > 0


async def test_the_file_says_whose_it_is_and_in_which_format(database: Path) -> None:
    async with opened_sqlite(database):
        pass
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("application_id").to_bytes(4, "big") == b"FACT"
    assert connection.pragma("user_version") >= 1
    connection.close()


async def test_closing_leaves_one_file_and_the_lock_file(database: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact())
        await store.head()
    left = {path.name for path in database.parent.iterdir()}
    assert left == {"facts.db", "facts.db.lock"}


async def test_opening_an_existing_store_changes_nothing_in_it(database: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact())
    before = database.read_bytes()
    async with opened_sqlite(database):
        pass
    assert database.read_bytes() == before


async def test_an_empty_file_becomes_a_store(database: Path) -> None:
    database.touch()
    async with opened_sqlite(database) as store:
        assert (await commit(store, NewFact())).first_sequence_number == 1


async def test_a_file_of_a_newer_format_is_refused_and_left_alone(database: Path) -> None:
    async with opened_sqlite(database):
        pass
    connection = apsw.Connection(str(database))
    connection.pragma("user_version", 99)
    connection.close()
    before = database.read_bytes()
    message = await refusal(database)
    assert "99" in message
    assert "newer version" in message
    assert database.read_bytes() == before


@pytest.mark.parametrize("application_id", [0, 0x46414355])
async def test_another_applications_database_is_refused_and_left_alone(
    database: Path, application_id: int
) -> None:
    connection = apsw.Connection(str(database))
    connection.execute("CREATE TABLE theirs (x)")
    connection.pragma("application_id", application_id)
    connection.close()
    before = database.read_bytes()
    assert "another application" in await refusal(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"sequence_number,payload\n" * 100, b"SQLite format 3\0 but not really" * 100]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(database: Path, content: bytes) -> None:
    database.write_bytes(content)
    assert "not a SQLite database" in await refusal(database)
    assert database.read_bytes() == content


async def test_a_path_without_its_folder_is_refused_and_no_folder_is_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "facts.db"
    assert "no folder" in await refusal(missing)
    assert not missing.parent.exists()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "cannot open" in await refusal(folder)


async def test_a_second_server_on_the_same_file_is_refused_until_the_first_has_stopped(
    database: Path,
) -> None:
    settings = Settings(store=url_of(database), listen=("127.0.0.1:0",))
    first = Server(settings)
    await first.start()
    second = Server(settings)
    with pytest.raises(StartupError, match="in use by another server"):
        await second.start()
    await first.stop()
    third = Server(settings)
    await third.start()
    await third.stop()


async def test_a_server_of_another_process_is_refused_too(database: Path) -> None:
    command = [sys.executable, "-m", "factstr_server", "--store", url_of(database), "--listen", "127.0.0.1:0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")}
    async with opened_sqlite(database):
        other = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=30, check=False
        )
    assert other.returncode == 1
    assert "in use by another server" in other.stderr
    assert "Traceback" not in other.stderr


async def test_a_file_cannot_be_opened_twice_by_another_name(database: Path, tmp_path: Path) -> None:
    async with opened_sqlite(database):
        (tmp_path / "link.db").symlink_to(database)
        assert "in use by another server" in await refusal(tmp_path / "link.db")


async def test_a_file_with_a_second_name_is_refused(database: Path, tmp_path: Path) -> None:
    """Each name would have newest commits of its own."""
    async with opened_sqlite(database):
        (tmp_path / "hard.db").hardlink_to(database)
        assert "more than one name" in await refusal(tmp_path / "hard.db")


async def test_a_file_in_a_linked_folder_cannot_be_opened_twice(database: Path, tmp_path: Path) -> None:
    async with opened_sqlite(database):
        (tmp_path / "linked").symlink_to(tmp_path)
        assert "in use by another server" in await refusal(tmp_path / "linked" / "facts.db")


async def test_a_relative_path_does_not_open_a_file_twice(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened_sqlite(database):
        assert "in use by another server" in await refusal(Path("facts.db"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lock file is all there is")
@pytest.mark.parametrize("new", [True, False])
async def test_a_deleted_lock_file_does_not_open_a_file_twice(database: Path, new: bool) -> None:
    """Such as by somebody who takes it for what a dead server has left."""
    if not new:
        async with opened_sqlite(database):
            pass
    async with opened_sqlite(database) as store:
        database.with_name("facts.db.lock").unlink()
        assert "in use by another server" in await refusal(database)
        assert (await commit(store, NewFact())).first_sequence_number == 1


async def test_a_file_that_was_in_use_can_be_opened_when_its_server_has_stopped(database: Path) -> None:
    async with opened_sqlite(database):
        await refusal(database)
    async with opened_sqlite(database) as store:
        assert await store.head() == 0


async def test_a_damaged_file_is_refused_with_a_clear_line(database: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, *[NewFact(payload='"' + "x" * 3_000 + '"')] * 30)
    damaged = database.read_bytes()
    database.write_bytes(damaged[:4096] + bytes(len(damaged) - 4096))
    await refusal(database)


async def test_a_refused_file_is_not_left_locked(database: Path) -> None:
    database.write_bytes(b"no database" * 100)
    await refusal(database)
    database.unlink()
    async with opened_sqlite(database) as store:
        assert await store.head() == 0


async def test_a_copy_of_the_closed_file_is_the_same_store(database: Path, tmp_path: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact("kept"))
        identity = store.info
    shutil.copy(database, tmp_path / "copy.db")
    async with opened_sqlite(tmp_path / "copy.db") as copy:
        assert copy.info == identity
        assert await copy.head() == 1


async def test_batches_are_stored_for_more_than_one_fact_only(database: Path) -> None:
    async with opened_sqlite(database) as store:
        for size in (1, 3, 1, 2):
            await commit(store, *[NewFact()] * size)
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("SELECT * FROM batches ORDER BY 1").fetchall() == [(2, 4), (6, 7)]
    connection.close()


async def test_relative_urls_are_relative_and_absolute_ones_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("sqlite:///here.db"), opened(f"sqlite:///{tmp_path}/there.db"):
        assert (tmp_path / "here.db").exists()
        assert (tmp_path / "there.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:",
        "sqlite://x.db",
        "sqlite:///",
        "memory",
        "memory:x",
        "mysql://x",
        "/facts.db",
        "facts.db",
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        store_by_url(url, StoreOptions())
    assert repr(url) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.0", "3.51.2"])
def test_a_sqlite_that_may_corrupt_the_file_is_refused(version: str) -> None:
    with pytest.raises(StoreError, match=version):
        check_sqlite_version(version)


@pytest.mark.parametrize("version", ["3.44.6", "3.50.7", "3.51.3", "3.52.0", "3.54.0", "4.0.0"])
def test_a_mended_sqlite_is_accepted(version: str) -> None:
    check_sqlite_version(version)
