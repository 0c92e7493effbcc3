"""A disk loses what was not synced, and nothing else; and its errors reach SQLite as Linux's would."""

from collections.abc import Iterator
from contextlib import suppress
from errno import EIO, EMFILE, ENOMEM, ENOSPC
from pathlib import Path
from random import Random

import apsw
import pytest

from tests.reliability.part import Trial
from tests.reliability.store_faults.disk import Disk
from tests.reliability.store_faults.disk_faults import SHORT, WAL_SYNC, Trouble
from tests.reliability.store_faults.mounting import Mount, mounted

LOSSES = 20


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    with mounted() as mounts:
        yield mounts.mount(tmp_path / "disk", Random(1))


def opened(folder: Path, synchronous: str = "FULL") -> apsw.Connection:
    connection = apsw.Connection(str(folder / "test.db"))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"PRAGMA synchronous = {synchronous}; CREATE TABLE IF NOT EXISTS t (c)")
    return connection


def insert(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO t VALUES (zeroblob(1000))")


def rows(connection: apsw.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM t").get)


@pytest.mark.parametrize(("synchronous", "loses"), [("FULL", False), ("NORMAL", True), ("OFF", True)])
def test_a_loss_of_power_takes_commits_that_sqlite_did_not_wait_for_and_no_others(
    trial: Trial, synchronous: str, loses: bool
) -> None:
    chance = trial.chance(synchronous)
    lost = 0
    with mounted() as mounts:
        for number in range(LOSSES):
            before = mounts.mount(trial.folder / f"before-{number}", chance)
            connection = opened(before.folder, synchronous)
            before.disk.lose_power(chance.randrange(1_000))
            committed = 0
            with suppress(apsw.IOError):
                while True:
                    insert(connection)
                    committed += 1
            connection.close()
            after = mounts.mount(trial.folder / f"after-{number}", chance, before.disk.files_after_loss())
            found = -1
            with suppress(apsw.Error):
                found = rows(opened(after.folder))
            lost += found not in (committed, committed + 1)
    assert (lost > 0) is loses, lost


def test_what_a_sync_that_failed_has_not_written_no_later_sync_makes_durable(trial: Trial) -> None:
    kept = set()
    for number in range(LOSSES):
        disk = Disk({}, trial.chance(number))
        content = disk.open("file")
        disk.sync(content, folder=True)
        disk.write(content, 0, b"x" * 4_096)
        disk.fail_to_sync(content)
        disk.write(content, 4_096, b"y" * 4_096)
        disk.sync(content, folder=False)
        disk.lose_power()
        left = disk.files_after_loss()["file"]
        assert left[4_096:] == b"y" * 4_096
        kept.add(left[:4_096].strip(b"\0"))
    assert {b"", b"x" * 4_096} <= kept


def test_a_new_name_may_be_lost_until_its_folder_is_synced(trial: Trial) -> None:
    there = {True: set[bool](), False: set[bool]()}
    for number in range(LOSSES):
        for folder in (True, False):
            disk = Disk({}, trial.chance(number, folder))
            disk.sync(disk.open("file"), folder=folder)
            disk.lose_power()
            there[folder].add("file" in disk.files_after_loss())
    assert there == {True: {True}, False: {True, False}}


@pytest.mark.parametrize(
    ("call", "error", "seen"),
    [
        ("pwrite64", ENOSPC, apsw.FullError),
        ("pwrite64", EIO, apsw.IOError),
        (WAL_SYNC, EIO, apsw.IOError),
        # To SQLite a file that cannot be read is a damaged one.
        ("pread64", EIO, apsw.CorruptError),
        ("open", EMFILE, apsw.CantOpenError),
        ("mmap", ENOMEM, apsw.IOError),
    ],
)
def test_errors_of_calls_are_what_sqlite_makes_of_them(
    mount: Mount, call: str, error: int, seen: type[Exception]
) -> None:
    opened(mount.folder).close()
    # It has read nothing yet, and opened nothing but the database.
    connection = apsw.Connection(str(mount.folder / "test.db"))
    if call == "pread64":
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    elif call not in ("open", "mmap"):
        insert(connection)
    mount.faults.begin(Trouble("", 1, {call: (error,)}))
    with pytest.raises(seen):
        insert(connection)
    assert mount.faults.met
    mount.faults.end()
    insert(connection)


def test_calls_that_do_only_a_part_are_carried_on(mount: Mount) -> None:
    mount.faults.begin(Trouble("", 2, {"pwrite64": (SHORT,), "pread64": (SHORT,)}))
    connection = opened(mount.folder)
    for _ in range(20):
        insert(connection)
    connection.close()
    assert rows(opened(mount.folder)) == 20
    assert mount.faults.figures["disk calls cut short"]
