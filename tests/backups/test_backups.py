"""`backup`: all that was committed when it began, in one file that is whole or not there, while the server goes on."""

# ruff: noqa: ASYNC240  (the files are small, and nothing else runs in the loop)

import asyncio
import os
import random
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

import apsw
import pytest

import factstr
from factstr_server.stores.offline import (
    back_up_store,
    migrate_store,
    verify_store,
)
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.backing_up import BackedUp
from tests.backups.damaging import damage, in_silence, left
from tests.client.server_process import Server
from tests.conformance.driver import NewFact
from tests.copying.content import fill
from tests.copying.copied import Ended, command, copied
from tests.stores.opened import commit, opened_sqlite, url_of
from tests.waiting import until


def backed_up(database: Path, to: Path) -> BackedUp:
    return back_up_store(url_of(database), to, in_silence)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Where one is to be: in a folder in which nothing else is."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "facts.backup"


def refusal(database: Path, to: Path) -> str:
    with pytest.raises(StoreError) as caught:
        backed_up(database, to)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_backup_of_a_running_store_holds_all_of_it(database: Path, backup: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact("newest"))
        assert database.with_name("facts.db-wal").stat().st_size > 0
        assert backed_up(database, backup) == BackedUp(7, backup.stat().st_size)
    assert verify_store(url_of(backup), in_silence) == verify_store(url_of(database), in_silence)


async def test_a_backup_needs_no_file_beside_it_and_leaves_none(database: Path, backup: Path) -> None:
    async with opened_sqlite(database):
        backed_up(database, backup)
    assert left(backup) == ["facts.backup"]
    assert backup.read_bytes()[18:20] == b"\1\1", "no write-ahead log"
    alone = apsw.Connection(f"file:{backup}?immutable=1", apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    assert alone.execute("SELECT count(*) FROM facts").get == 6
    alone.close()
    verify_store(url_of(backup), in_silence)
    assert left(backup) == ["facts.backup"]


async def test_a_backup_of_a_store_at_rest_changes_nothing_in_it(database: Path, backup: Path) -> None:
    before, files = database.read_bytes(), left(database)
    backed_up(database, backup)
    assert (database.read_bytes(), left(database)) == (before, files)


async def test_commits_neither_enter_a_backup_nor_make_it_begin_again(tmp_path: Path, backup: Path) -> None:
    database = tmp_path / "facts.db"
    await fill(url_of(database), random.Random(1))
    damage(database, "DELETE FROM durable_streams")
    seen: list[int] = []

    def commit_meanwhile(doing: str, done: int, total: int, of: str) -> None:
        seen.append(done)
        # On a page that has been copied.
        damage(database, "UPDATE store SET created_at = -1")
        damage(database, "INSERT INTO batches VALUES (1000000 + abs(random()) % 1000000, 0)")

    back_up_store(url_of(database), backup, commit_meanwhile)
    assert len(seen) > 5
    assert seen == sorted(set(seen))
    assert verify_store(url_of(backup), in_silence).findings == []
    copied = apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)
    assert copied.execute("SELECT created_at FROM store").get > 0
    copied.close()


async def test_backups_under_load_hold_all_that_was_answered_before(tmp_path: Path, backup: Path) -> None:
    server = Server(tmp_path)
    await asyncio.to_thread(server.start)
    answered, stopping = 0, False

    async def append() -> None:
        nonlocal answered
        async with factstr.aio.connect(server.target) as store:
            while not stopping:
                batch = [factstr.Event("a", {"n": n}) for n in range(random.Random(answered).randint(1, 9))]
                answered = max(answered, (await store.append(batch)).last_sequence_number)

    try:
        appending = [asyncio.create_task(append()) for _ in range(4)]
        await until(lambda: answered > 100, "facts are appended")
        for number in range(3):
            before, file = answered, backup.with_name(str(number))
            done = await command("backup", "--store", f"sqlite:///{tmp_path}/facts.db", "--to", str(file))
            assert done.code == 0
            verified = verify_store(url_of(file), in_silence)
            assert verified.findings == []
            assert verified.facts >= before
            assert answered > before
        stopping = True
        await asyncio.gather(*appending)
    finally:
        server.kill()


async def test_a_backup_is_no_store_to_servers_and_other_commands(database: Path, backup: Path) -> None:
    backed_up(database, backup)
    served = await command("serve", "--store", url_of(backup), "--listen", "127.0.0.1:0")
    assert "is a backup, which is not served as it is" in served.failure
    assert f"factstr-server restore --from {backup}" in served.failure
    for attempt in (
        migrate_store(url_of(backup)),
        copied(url_of(backup), url_of(backup.with_name("new"))),
        copied(url_of(database), url_of(backup)),
    ):
        with pytest.raises(StoreError, match="is a backup"):
            await attempt
    assert "is a backup" in refusal(backup, backup.with_name("again"))


async def test_nothing_is_written_over(database: Path, backup: Path) -> None:
    backup.write_text("theirs")
    assert "exists, and nothing is written over it" in refusal(database, backup)
    assert backup.read_text() == "theirs"
    assert left(backup) == ["facts.backup"]
    assert "is the store itself" in refusal(database, database)
    backup.unlink()
    backup.symlink_to(database)
    assert "is the store itself" in refusal(database, backup)
    backup.unlink()
    backup.symlink_to("nowhere")
    assert "exists, and nothing is written over it" in refusal(database, backup)


@pytest.mark.parametrize("folder", [".", "..", "/"])
async def test_a_folder_is_no_place_for_a_backup_and_no_store(
    database: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.parent)
    assert refusal(database, Path(folder)) == f"cannot open {folder}: it is a folder; name a file in it"
    assert refusal(Path(folder), Path("new")) == f"cannot open {folder}: it is a folder; name a file in it"


async def test_a_backup_is_named_by_its_path(database: Path, backup: Path) -> None:
    for url, path in ((url_of(backup), str(backup)), ("sqlite:", "FILE")):
        for words in (("backup", "--store", url_of(database), "--to"), ("restore", "--check", "--from")):
            done = await command(*words, url)
            assert done.code == 2
            assert done.errors[-1].endswith(
                f"{words[-1]} {url}: a backup is named by its path and not by a URL; write {words[-1]} {path}"
            )


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
async def test_what_sqlite_would_take_for_a_part_of_the_backup_is_refused(
    database: Path, backup: Path, suffix: str
) -> None:
    backup.with_name(backup.name + suffix).touch()
    assert f"{backup}{suffix} exists" in refusal(database, backup)


async def test_a_file_that_came_meanwhile_is_not_written_over(database: Path, backup: Path) -> None:
    def create(doing: str, done: int, total: int, of: str) -> None:
        backup.write_text("theirs")

    with pytest.raises(StoreError, match="nothing is written over it"):
        back_up_store(url_of(database), backup, create)
    assert backup.read_text() == "theirs"
    assert left(backup) == ["facts.backup"]


async def test_a_backup_has_the_permissions_of_the_store(database: Path, backup: Path) -> None:
    database.chmod(0o600)
    modes: list[int] = []

    def look(doing: str, done: int, total: int, of: str) -> None:
        modes.append(backup.with_name("facts.backup.partial").stat().st_mode & 0o777)

    back_up_store(url_of(database), backup, look)
    assert {*modes, backup.stat().st_mode & 0o777} == {0o600}


async def test_what_cannot_be_backed_up_is_told(database: Path, backup: Path, tmp_path: Path) -> None:
    assert "there is no store at" in refusal(tmp_path / "none.db", backup)
    assert "there is no folder" in refusal(database, tmp_path / "missing" / "file")
    (tmp_path / "empty.db").touch()
    assert "there is no store in" in refusal(tmp_path / "empty.db", backup)
    (tmp_path / "hard.db").hardlink_to(database)
    assert "more than one name" in refusal(tmp_path / "hard.db", backup)
    for url, expected in (
        ("memory:", "a memory store ends with its server: it cannot be backed up"),
        ("postgresql://app:secret@host/facts", "pg_dump, pg_basebackup"),
        ("x", "cannot be backed up; write sqlite:///"),
    ):
        with pytest.raises(StoreError) as caught:
            back_up_store(url, backup, in_silence)
        assert expected in str(caught.value)
        assert "secret" not in str(caught.value)
    assert left(backup) == []


async def test_a_full_disk_leaves_no_backup(tmp_path: Path, backup: Path) -> None:
    database = tmp_path / "facts.db"
    async with opened_sqlite(database) as store:
        await commit(store, *[NewFact("a", '"' + "x" * 500_000 + '"')] * 4)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    failed = await command("backup", "--store", url_of(database), "--to", str(backup), prepare=no_room)
    assert str(backup) in failed.failure
    assert left(backup) == []


class HeldBackup:
    """A backup by the command that waits at its first line of progress, because nobody reads what it says.

    Killed at the end of the block, if it has not ended before.
    """

    process: asyncio.subprocess.Process

    def __init__(self, database: Path, backup: Path) -> None:
        self._arguments = ("backup", "--store", url_of(database), "--to", str(backup))
        self._partial = backup.with_name(f"{backup.name}.partial")

    async def __aenter__(self) -> Self:
        self._said, theirs = os.pipe()
        os.set_blocking(theirs, False)
        with suppress(BlockingIOError):
            while True:
                os.write(theirs, b"\n" * 4096)
        os.set_blocking(theirs, True)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "factstr_server", *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        await until(self._partial.exists, "the backup has begun")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        os.close(self._said)

    async def end(self) -> Ended:
        """Hears it to its end."""

        def read() -> bytes:
            with os.fdopen(os.dup(self._said), "rb") as said:
                return said.read()

        errors = await asyncio.to_thread(read)
        out, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), errors.decode().strip().splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_backup_that_is_interrupted_leaves_nothing(
    database: Path, backup: Path, number: signal.Signals
) -> None:
    async with HeldBackup(database, backup) as held:
        held.process.send_signal(number)
        ended = await held.end()
    assert ended.failure == "factstr-server: interrupted; no backup was made"
    assert left(backup) == []


async def test_a_backup_that_was_killed_leaves_a_part_that_the_next_one_replaces(
    database: Path, backup: Path
) -> None:
    async with HeldBackup(database, backup) as held:
        held.process.kill()
        await held.process.wait()
    assert left(backup) == ["facts.backup.partial", "facts.backup.partial.lock"]
    backup.with_name("facts.backup.partial").write_bytes(b"whatever it has come to")
    backed_up(database, backup)
    assert left(backup) == ["facts.backup"]
    assert verify_store(url_of(backup), in_silence).findings == []


async def test_another_backup_to_the_same_file_is_refused_while_one_is_under_way(
    database: Path, backup: Path
) -> None:
    async with HeldBackup(database, backup) as held:
        assert "is being written already" in refusal(database, backup)
        ended = await held.end()
    assert ended.code == 0
    assert left(backup) == ["facts.backup"]


async def test_the_command_says_what_it_has_backed_up(database: Path, backup: Path) -> None:
    done = await command("backup", "--store", url_of(database), "--to", str(backup))
    size = backup.stat().st_size
    assert (done.code, done.out) == (0, f"backed up 6 facts (head 6) to {backup}, {size} bytes\n")
    assert done.errors[-1].startswith(f"backing up: {size // 1024} of {size // 1024} KiB (100 %)")
