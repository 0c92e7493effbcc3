"""`restore`: a backup becomes a store again, and its log another one, of which every client learns."""

# ruff: noqa: ASYNC240  (the files are small, and nothing else runs in the loop)

import random
from pathlib import Path

import apsw
import pytest

import factstr
from factstr_server.stores import sqlite
from factstr_server.stores.offline import back_up_store, restore_store, verify_store
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.restoring import DamagedBackup, check_backup
from factstr_server.stores.sqlite.verifying import Verified
from tests.backups.damaging import damage, in_silence, left, make_store, with_bits_flipped
from tests.client.server_process import Server
from tests.conformance.driver import NewFact, Options, refused
from tests.conformance.wire import Wire
from tests.copying.content import fill, select, whole
from tests.copying.copied import command
from tests.stores.opened import commit, opened_sqlite, url_of


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    (tmp_path / "origin").mkdir()
    database = tmp_path / "origin" / "facts.db"
    await make_store(database)
    (tmp_path / "backups").mkdir()
    return backed_up(database, tmp_path / "backups" / "facts.backup")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the restored store is to be: in a folder in which nothing else is."""
    (tmp_path / "restored").mkdir()
    return tmp_path / "restored" / "facts.db"


def backed_up(database: Path, to: Path) -> Path:
    back_up_store(url_of(database), to, in_silence)
    return to


def restored(backup: Path, database: Path) -> Verified:
    return restore_store(backup, url_of(database), in_silence)


def refusal(backup: Path, database: Path) -> str:
    with pytest.raises(StoreError) as caught:
        restored(backup, database)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def epochs(database: Path) -> list[int]:
    """Of all durable streams, and the store's counter last."""
    rows = select(
        url_of(database),
        "SELECT lease_epoch FROM durable_streams UNION ALL SELECT last_lease_epoch FROM store ORDER BY 1",
    )
    return [number for (number,) in rows]


async def test_a_restored_store_is_the_same_but_for_its_history_and_leases(
    tmp_path: Path, database: Path
) -> None:
    origin = tmp_path / "origin.db"
    await fill(url_of(origin), random.Random(1))
    damage(origin, "DELETE FROM durable_streams WHERE lease_epoch > 3")
    damage(origin, "UPDATE durable_streams SET query = '[]', canonical_query = '[]'")
    before = await whole(url_of(origin))
    restored(backed_up(origin, tmp_path / "backup"), database)
    after = await whole(url_of(database))
    assert after.info.history_id != before.info.history_id
    assert after._replace(info=before.info, rows=before.rows) == before
    for table, rows in before.rows.items():
        if table == "store":
            assert [row[0] for row in after.rows[table]] == [row[0] for row in rows]
        elif table == "durable_streams":
            assert [[*row[:4], *row[5:]] for row in after.rows[table]] == [
                [*row[:4], *row[5:]] for row in rows
            ]
            assert min(epochs(database)) > 3
        else:
            assert after.rows[table] == rows
    assert left(database) == ["facts.db", "facts.db.lock"]
    assert verify_store(url_of(database), in_silence).findings == []


async def test_the_backup_stays_as_it_is(backup: Path, database: Path) -> None:
    before = backup.read_bytes()
    restored(backup, database)
    check_backup(backup, in_silence)
    assert backup.read_bytes() == before
    assert left(backup) == ["facts.backup"]


async def test_each_restore_begins_a_history_with_epochs_of_its_own(
    backup: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the same backup: none of the first one's epochs comes again in the second one."""
    restored(backup, database)
    async with opened_sqlite(database) as store:
        first = store.info.history_id
    monkeypatch.setattr("time.time_ns", lambda: 4_000_000_000_000_000_000)
    second = database.with_name("again.db")
    restored(backup, second)
    async with opened_sqlite(second) as store:
        assert store.info.history_id != first
    for database_epochs in (epochs(database), epochs(second)):
        assert len(database_epochs) == 2
        assert 1_000_000 < database_epochs[0] <= database_epochs[-1] < 2**53
    assert epochs(second)[0] > epochs(database)[-1] + 1_000_000


def test_epochs_do_not_go_back_when_an_older_backup_is_restored_after_a_newer(
    backup: Path, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first.db", "second.db", "third.db"))
    restored(backup, first)
    restored(backed_up(first, tmp_path / "newer.backup"), second)
    restored(backup, third)
    assert epochs(first)[-1] < epochs(second)[0]
    assert epochs(second)[-1] < epochs(third)[0]


def test_epochs_do_not_go_back_with_the_clock(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    restored(backup, first)
    monkeypatch.setattr("time.time_ns", lambda: 1_500_000_000_000_000_000)
    restored(backed_up(first, tmp_path / "newer.backup"), second)
    assert epochs(first)[-1] < epochs(second)[0]


async def test_a_stream_that_saw_more_than_the_restored_log_is_told_so(
    tmp_path: Path, database: Path
) -> None:
    server = Server(tmp_path)
    server.start()
    url = f"sqlite:///{tmp_path}/facts.db"
    try:
        with factstr.connect(server.target) as store:
            store.append([factstr.Event("a", n) for n in range(100)])
            history_id = store.server_info().history_id
            assert (await command("backup", "--store", url, "--to", str(tmp_path / "backup"))).code == 0
            store.append([factstr.Event("a", n) for n in range(20)])
            with store.stream_all(after=0) as stream:
                while stream.position < 120:
                    next(stream)
                server.kill()
                for suffix in ("", "-wal", "-shm"):
                    (tmp_path / f"facts.db{suffix}").rename(tmp_path / f"lost.db{suffix}")
                assert (
                    await command("restore", "--from", str(tmp_path / "backup"), "--store", url)
                ).code == 0
                server.start()
                with factstr.connect(server.target) as another:
                    with pytest.raises(factstr.CursorAheadOfLog), another.stream_all(after=120) as ahead:
                        next(ahead)
                    result = another.append([factstr.Event("b", n) for n in range(30)])
                    assert result.last_sequence_number == 130
                with pytest.raises(factstr.LogDiverged):
                    next(stream)
            assert store.server_info().history_id != history_id
    finally:
        server.kill()


async def test_what_was_acknowledged_in_the_lost_history_moves_no_cursor(
    tmp_path: Path, database: Path
) -> None:
    origin, backup = tmp_path / "origin.db", tmp_path / "backup"
    async with Wire(url_of(origin), Options()) as server:
        await server.append_types(*"aaa")
        async with server.stream_all_durable("s") as stream:
            started = await stream.started()
            backed_up(origin, backup)
            await server.append_types("lost")
            [_, last] = await stream.batches(2)
    restored(backup, database)
    async with Wire(url_of(database), Options()) as server:
        await server.append_types("b", "b")
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await server.acknowledge("s", last.token)
        assert (await server.durable("s")).cursor == 0
        async with server.stream_all_durable("s") as stream:
            resumed = await stream.started()
            assert resumed.lease_epoch > started.lease_epoch + 1_000_000
            with refused("DURABLE_STREAM_LEASE_LOST"):
                await server.acknowledge("s", last.token)


async def test_a_store_that_exists_is_not_written_over(backup: Path, database: Path) -> None:
    await make_store(database)
    before = database.read_bytes()
    assert "exists, and nothing is written over it" in refusal(backup, database)
    async with opened_sqlite(database):
        assert "in use by another server" in refusal(backup, database)
    assert database.read_bytes() == before
    assert "exists" in refusal(backup, backup)


async def test_a_store_is_not_restored_beside_another_ones_newest_commits(
    backup: Path, database: Path, tmp_path: Path
) -> None:
    """SQLite would take them for this one's."""
    database.with_name("facts.db-wal").write_bytes(b"of a store that was moved away alone")
    assert f"{database}-wal exists" in refusal(backup, database)
    assert left(database) == ["facts.db-wal", "facts.db.lock"]


async def test_no_server_takes_the_place_while_it_is_restored(backup: Path, database: Path) -> None:
    answers: list[str] = []

    def serve(doing: str, done: int, total: int, of: str) -> None:
        with pytest.raises(StoreError) as caught:
            restored(backup, database)
        answers.append(str(caught.value))

    restore_store(backup, url_of(database), serve)
    assert len(answers) > 3
    assert all("in use by another server" in each for each in answers)


async def test_only_a_backup_is_restored(backup: Path, database: Path, tmp_path: Path) -> None:
    assert "is a store and no backup" in refusal(tmp_path / "origin" / "facts.db", database)
    assert "there is no backup at" in refusal(tmp_path / "none", database)
    (tmp_path / "empty").touch()
    assert "is no backup" in refusal(tmp_path / "empty", database)
    (tmp_path / "text").write_bytes(b"no database" * 100)
    assert "is not a SQLite database" in refusal(tmp_path / "text", database)
    damage(backup, "PRAGMA user_version = 99")
    assert "upgrade it" in refusal(backup, database)
    for folder in (".", "/"):
        assert "is a folder; name a file in it" in refusal(backup, Path(folder))
        assert "is a folder; name a backup in it" in refusal(Path(folder), database)
    for url, expected in (("memory:", "ends with its server"), ("postgresql://h/d", "pg_dump")):
        with pytest.raises(StoreError, match=expected):
            restore_store(backup, url, in_silence)
    assert left(database) == []


async def test_a_damaged_backup_is_not_restored(backup: Path, database: Path) -> None:
    damage(backup, "UPDATE durable_streams SET cursor = 7")
    with pytest.raises(DamagedBackup) as caught:
        restored(backup, database)
    assert "is damaged, and was not restored" in str(caught.value)
    assert len(caught.value.found.findings) == 1
    assert left(database) == ["facts.db.lock"]


def test_whatever_bit_is_flipped_a_backup_is_restored_or_refused_in_a_line(
    backup: Path, database: Path
) -> None:
    told = set[str]()
    for file in with_bits_flipped(backup, 150):
        try:
            told |= set(check_backup(file, in_silence).findings)
        except StoreError as error:
            told.add(str(error))
        try:
            restored(file, database)
            database.unlink()
        except StoreError as error:
            told.add(str(error))
    assert len(told) > 50
    assert not [line for line in told if not line.isprintable()]


async def test_a_backup_of_an_earlier_format_is_restored_to_this_one(backup: Path, database: Path) -> None:
    first = (Path(sqlite.__path__[0]) / "schema" / "0001_log.sql").read_text(encoding="utf-8")
    backup.unlink()
    connection = apsw.Connection(str(backup))
    connection.execute(first)
    connection.execute("INSERT INTO store VALUES (1, 'it', 'h', 0)")
    connection.pragma("application_id", 0x46414342)
    connection.pragma("user_version", 1)
    connection.close()
    with pytest.raises(StoreError, match="restoring brings it to format 2"):
        check_backup(backup, in_silence)
    restored(backup, database)
    async with opened_sqlite(database) as store:
        assert store.info.store_id == "it"
        assert (await commit(store, NewFact())).first_sequence_number == 1


async def test_the_command_restores_and_says_so(backup: Path, database: Path) -> None:
    done = await command("restore", "--from", str(backup), "--store", url_of(database))
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "ok: 6 facts (head 6), 4 batches, 1 keys, 1 durable streams",
            f"restored to {url_of(database)} as a new history; clients that saw later facts are told LOG_DIVERGED",
        ],
    )
    served = await command("restore", "--from", str(backup), "--store", url_of(database))
    assert "exists" in served.failure


async def test_the_command_checks_a_backup_and_restores_nothing(backup: Path, database: Path) -> None:
    done = await command("restore", "--from", str(backup), "--check")
    assert (done.code, done.out) == (0, "ok: 6 facts (head 6), 4 batches, 1 keys, 1 durable streams\n")
    damage(backup, "UPDATE durable_streams SET cursor = 7")
    for arguments in (("--check",), ("--store", url_of(database))):
        failed = await command("restore", "--from", str(backup), *arguments)
        assert f"{backup} is damaged" in failed.failure
        assert failed.out == "the durable stream 's' has the cursor 7, which is not within 0 and the head 6\n"
    assert left(database) == ["facts.db.lock"]
