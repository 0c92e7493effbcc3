"""What a SQLite store says and keeps when its disk fails or loses its power at a certain moment."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from errno import EIO, EMFILE, ENOSPC
from itertools import count
from pathlib import Path
from typing import Final

import apsw
import pytest

from factstr_server.server import StartupError
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite import database as sqlite_database
from factstr_server.stores.sqlite import restoring
from factstr_server.stores.sqlite import store as sqlite_store
from factstr_server.stores.sqlite.backing_up import back_up_file
from factstr_server.stores.sqlite.database import open_writer
from factstr_server.stores.sqlite.restoring import restore_file
from tests.conformance.direct import Direct
from tests.conformance.driver import Appended, Failure, NewFact, Options, of_type, refused
from tests.conformance.streams import Batch
from tests.conformance.wire import Wire
from tests.reliability.crash.sqlite import look_at
from tests.reliability.part import Trial
from tests.reliability.store_faults.disk_faults import STALLED, SYNC, WAL_SYNC, Trouble
from tests.reliability.store_faults.mounting import Mount, Mounts, mounted
from tests.sharing.recording import whole_log
from tests.stores.opened import url_of
from tests.waiting import until

COMMITS_FAIL: Final = Trouble("commits fail", 1, {WAL_SYNC: (EIO,)})
CHECKPOINTS_FAIL: Final = Trouble("checkpoints fail", 1, {SYNC: (EIO,)})

EVERY: Final = 7
"""One moment of so many is tried."""


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with mounted() as mounts:
        yield mounts


def store_at(folder: Path) -> Direct:
    return Direct(url_of(folder / "facts.db"), Options())


def wanted(number: int) -> tuple[list[NewFact], str]:
    """Facts and their key."""
    return [NewFact(f"fact {number}"), NewFact(f"fact {number}")], f"key {number}"


class Life:
    """Of a store, from its creation on."""

    def __init__(self) -> None:
        self.acknowledged: list[Appended] = []
        self.cursor = 0

    async def live(self, folder: Path) -> None:
        """It is opened twice, and closed in order."""
        for _ in range(2):
            async with store_at(folder) as store, store.stream_all_durable("s") as stream:
                for number in range(len(self.acknowledged), len(self.acknowledged) + 4):
                    facts, key = wanted(number)
                    self.acknowledged.append(await store.append(facts, key=key))
                    batch = await stream.next_of(Batch)
                    self.cursor = await store.acknowledge("s", batch.token)

    async def check(self, store: Direct) -> None:
        """What it has left."""
        log = await whole_log(store)
        shapes = [(batch.first, batch.last) for batch in log]
        told = [(answer.first, answer.last) for answer in self.acknowledged]
        assert shapes in (told, [*told, (2 * len(told) + 1, 2 * len(told) + 2)]), (
            "acknowledged, or perhaps the next one"
        )
        assert not self.cursor or (await store.durable("s")).cursor >= self.cursor
        for number, answer in enumerate(self.acknowledged):
            facts, key = wanted(number)
            assert [fact.appended for fact in log[number].facts] == facts
            assert await store.append(facts, key=key) == answer.as_repeat


async def test_power_that_is_lost_at_any_moment_of_a_stores_life_takes_nothing_that_was_acknowledged(
    trial: Trial, mounts: Mounts
) -> None:
    chance = trial.chance()
    for changes in count(chance.randrange(EVERY), EVERY):
        before = mounts.mount(trial.folder / f"before-{changes}", chance)
        before.disk.lose_power(changes)
        life = Life()
        with suppress(StoreError, Failure):
            await life.live(before.folder)
        if not before.disk.lost:
            break
        after = mounts.mount(trial.folder / f"after-{changes}", chance, before.disk.files_after_loss())
        async with store_at(after.folder) as store:
            await life.check(store)
            await store.append([NewFact("goes on")])
        look_at(after.folder / "facts.db")
    assert changes > 20 * EVERY


async def test_a_commit_whose_sync_failed_is_called_unknown_because_a_crash_may_bring_it_to_light(
    trial: Trial, mounts: Mounts
) -> None:
    chance = trial.chance()
    disk = mounts.mount(trial.folder / "disk", chance)
    async with store_at(disk.folder) as store:
        await store.append(*wanted(0)[:1], key=wanted(0)[1])
        disk.faults.begin(COMMITS_FAIL)
        with refused("APPEND_OUTCOME_UNKNOWN"):
            await store.append(wanted(1)[0], key=wanted(1)[1])
        assert [batch.last for batch in look_at(disk.folder / "facts.db")] == [2, 4]
        disk.faults.end()
        # Here it never happened, and nothing is built on what was not synced.
        assert await store.head() == 2
        assert (await store.append([NewFact("another")])).first == 3
        assert not (await store.append(wanted(1)[0], key=wanted(1)[1])).repeated
        disk.disk.lose_power()
    after = mounts.mount(trial.folder / "after", chance, disk.disk.files_after_loss())
    async with store_at(after.folder) as store:
        assert [batch.last for batch in await whole_log(store)] == [2, 3, 5]


async def test_a_file_that_fails_to_open_once_keeps_nobody_from_writing(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = mounts.mount(trial.folder / "template", trial.chance())
    async with store_at(template.folder) as store:
        await store.append_types("a")
    # What is there, as a killed server leaves it, SQLite opens for reading when it cannot open it for writing.
    files = {"facts.db-wal": b"", "facts.db-shm": b""}
    files["facts.db"] = (template.folder / "facts.db").read_bytes()
    for failing in count(1):
        disk = mounts.mount(trial.folder / f"disk-{failing}", trial.chance(failing), files)
        opened = 0

        def meet(call: str, failing: int = failing) -> int | None:
            nonlocal opened
            opened += call == "open"
            return EMFILE if call == "open" and opened == failing else None

        monkeypatch.setattr(disk.faults, "meet", meet)
        server = Wire(url_of(disk.folder / "facts.db"), Options())
        try:
            await server.start()
        except StartupError:
            await server.start()
        with suppress(Failure):
            await server.append_types("b")
        await server.append_types("c")
        assert "a" in {fact.event_type for fact in (await server.query()).facts}
        await server.stop()
        if opened < failing:
            break
    assert failing > 3


async def test_what_a_failed_checkpoint_may_have_lost_is_written_again_before_the_wal_is(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_PAGES", 20)
    chance = trial.chance()
    for number in range(10):
        disk = mounts.mount(trial.folder / f"disk-{number}", chance)
        async with store_at(disk.folder) as store:
            with closing(apsw.Connection(str(disk.folder / "facts.db"))) as reader:
                # In the way of checkpoints, which write what was committed before it began, and sync nothing.
                reader.execute("BEGIN; SELECT * FROM records").fetchall()
                for _ in range(10):
                    await store.append_types("a")
            disk.faults.begin(CHECKPOINTS_FAIL)
            await store.append_types("b")
            assert disk.faults.met
            disk.faults.end()
            for _ in range(20):
                await store.append_types("c")
            disk.disk.lose_power()
        after = mounts.mount(trial.folder / f"after-{number}", chance, disk.disk.files_after_loss())
        assert len(look_at(after.folder / "facts.db")) == 31


async def test_after_a_failed_checkpoint_reads_go_on_while_another_process_keeps_appends_waiting(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_PAGES", 1)
    disk = mounts.mount(trial.folder / "disk", trial.chance())
    async with store_at(disk.folder) as store:
        await store.append_types("a")
        with closing(apsw.Connection(str(disk.folder / "facts.db"))) as shell:
            shell.execute("SELECT * FROM records").fetchall()
            disk.faults.begin(CHECKPOINTS_FAIL)
            assert (await store.append_types("b")).last == 2
            disk.faults.end()
            for _ in range(2):
                with refused("STORE_UNAVAILABLE"):
                    await store.append_types("c")
                assert (await store.query()).numbers == [1, 2]
        assert (await store.append_types("d")).last == 3
        assert (await store.query()).numbers == [1, 2, 3]


async def test_a_commit_that_failed_and_is_found_after_a_crash_is_durable_before_anything_follows_it(
    trial: Trial, mounts: Mounts
) -> None:
    chance = trial.chance()
    for number in range(20):
        disk = mounts.mount(trial.folder / f"disk-{number}", chance)
        async with store_at(disk.folder) as store:
            await store.append_types("a")
            disk.faults.begin(COMMITS_FAIL)
            with refused("APPEND_OUTCOME_UNKNOWN"):
                await store.append_types("b", "b")
            disk = mounts.after_crash(disk, trial.folder / f"crashed-{number}", chance)
        async with store_at(disk.folder) as store:
            assert (await store.append_types("c")).last == 4
            disk.disk.lose_power()
        after = mounts.mount(trial.folder / f"after-{number}", chance, disk.disk.files_after_loss())
        assert [batch.last for batch in look_at(after.folder / "facts.db")] == [1, 3, 4]


async def test_a_start_that_fails_brings_nothing_to_the_database_that_is_not_durable(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = trial.chance()
    for number in range(30):
        disk = mounts.mount(trial.folder / f"disk-{number}", chance)
        async with store_at(disk.folder) as store:
            await store.append_types("a")
        async with store_at(disk.folder) as store:
            for _ in range(2):
                await store.append([NewFact(payload=f'"{"x" * 3_000}"')])
            disk.faults.begin(COMMITS_FAIL)
            with refused("APPEND_OUTCOME_UNKNOWN"):
                await store.append([NewFact(payload=f'"{"y" * 9_000}"')] * 2, key="known")
            disk = mounts.after_crash(disk, trial.folder / f"crashed-{number}", chance)

        def cannot_renew(database: Path, disk: Mount = disk) -> None:
            disk.disk.lose_power(chance.randrange(3, 20))
            raise StoreError(f"cannot write {database}")

        with monkeypatch.context() as patch:
            patch.setattr(sqlite_database, "renew_wal", cannot_renew)
            with pytest.raises(StoreError):
                await store_at(disk.folder).start()
        disk.disk.lose_power()
        after = mounts.mount(trial.folder / f"after-{number}", chance, disk.disk.files_after_loss())
        assert [batch.last for batch in look_at(after.folder / "facts.db")] in ([1, 2, 3], [1, 2, 3, 5])


async def test_after_a_failed_checkpoint_nothing_is_read_that_it_may_have_lost(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_PAGES", 60)
    disk = mounts.mount(trial.folder / "disk", trial.chance())
    database = disk.folder / "facts.db"
    async with store_at(disk.folder) as store:
        with closing(apsw.Connection(str(database))) as reader:
            reader.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
            durable = database.read_bytes()
            for _ in range(8):
                await store.append([NewFact("a", payload=f'"{"x" * 6_000}"')])
            # In the way of checkpoints, which write what was committed before it began, and sync nothing.
            reader.execute("BEGIN; SELECT * FROM records").fetchall()
            for _ in range(30):
                await store.append_types("a")
            assert database.read_bytes() != durable
        disk.faults.begin(CHECKPOINTS_FAIL)
        assert (await store.append_types("a")).last == 39
        assert disk.faults.met
        # The operating system drops from its memory what it takes for written: what is on the disk is read again.
        database.write_bytes(durable.ljust(database.stat().st_size, b"\0"))
        assert (await store.query()).numbers == [*range(1, 40)]
        assert (await store.query(of_type("a"))).numbers == [*range(1, 40)]


@pytest.mark.parametrize("fault", ["disk is full", "sync fails"])
def test_a_restore_whose_last_checkpoint_fails_leaves_no_store(
    trial: Trial, mounts: Mounts, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    disk = mounts.mount(trial.folder / "disk", trial.chance())
    database, backup, restored = (disk.folder / name for name in ("facts.db", "backup", "restored.db"))
    open_writer(database).close()
    back_up_file(database, backup, lambda *_: None)
    failing = CHECKPOINTS_FAIL if fault == "sync fails" else Trouble("full", 1, {"pwrite64": (ENOSPC,)})

    def committed(*_: object) -> int:
        disk.faults.begin(failing)
        return apsw.SQLITE_OK

    monkeypatch.setattr(restoring, "_begin_history", lambda connection: connection.set_wal_hook(committed))
    with pytest.raises(StoreError):
        restore_file(backup, restored, lambda *_: None)
    assert disk.faults.met
    assert not restored.exists()


async def test_while_a_sync_stalls_nothing_is_acknowledged_and_everything_else_goes_on(
    trial: Trial, mounts: Mounts
) -> None:
    disk = mounts.mount(trial.folder / "disk", trial.chance())
    async with store_at(disk.folder) as store, store.stream_all() as stream:
        await stream.started()
        await store.append_types("a")
        assert (await stream.next_of(Batch)).last == 1
        disk.faults.begin(STALLED)
        appending = asyncio.create_task(store.append_types("b"))
        await until(lambda: disk.faults.met > 0, "the sync stalls")
        assert (await store.query()).numbers == [1]
        assert await stream.next_within(0.2) is None
        assert not appending.done()
        disk.faults.end()
        assert (await appending).last == 2
        assert (await stream.next_of(Batch)).last == 2
