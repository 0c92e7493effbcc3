"""Servers on SQLite whose disk has faults and loses its power."""

import shutil
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final
from unittest import mock

from factstr_server.server import StartupError
from factstr_server.stores.sqlite import database as sqlite_database
from factstr_server.stores.sqlite import store as sqlite_store
from tests.reliability.crash.sqlite import look_at
from tests.reliability.load.excuses import STORE_FAILS
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.reliability.store_faults.disk_faults import STALLED, TROUBLES
from tests.reliability.store_faults.machine import Machine
from tests.reliability.store_faults.mounting import Mount, Mounts, mounted
from tests.reliability.store_faults.rounds import OF_A_LOG, Subject, Tally, try_rounds
from tests.stores.opened import url_of
from tests.waiting import until

_LONGEST_TROUBLE_SECONDS: Final = 0.4
_MOST_CHANGES: Final = 200
"""After which the power is lost."""

_MOST_CHANGES_OF_A_START: Final = 30

_CACHE_KIB: Final = 128
"""So little that SQLite reads all the time, and writes before it commits."""


_CHECKPOINT_PAGES: Final = 50


async def break_disks(rounds: int, trial: Trial, tally: Tally) -> None:
    caches = mock.patch.multiple(sqlite_database, _WRITER_CACHE_KIB=_CACHE_KIB, _READER_CACHE_KIB=_CACHE_KIB)
    checkpoints = mock.patch.object(sqlite_store, "CHECKPOINT_PAGES", _CHECKPOINT_PAGES)
    with mounted() as mounts, caches, checkpoints:
        for number in range(0, rounds, OF_A_LOG):
            folder = trial.folder / f"log-{number}"
            folder.mkdir()
            computer = Computer(folder, mounts, tally, trial.chance("disk", number))
            await computer.run(min(OF_A_LOG, rounds - number))
            shutil.rmtree(folder)
            trial.say(f"store faults, SQLite: {min(number + OF_A_LOG, rounds)} of {rounds} rounds")


class Computer:
    """A server, and its disk."""

    def __init__(self, folder: Path, mounts: Mounts, tally: Tally, chance: Random) -> None:
        self._folder = folder
        self._mounts = mounts
        self._tally = tally
        self._counts = tally.counts
        self._chance = chance
        self._machine = Machine()
        self._disks = 0
        self._mount = mounts.mount(self._new_place(), chance)

    async def run(self, rounds: int) -> None:
        subject = Subject("a disk under SQLite", [self._machine.address], STORE_FAILS)
        await self._start()
        try:
            await try_rounds(subject, rounds, self._trouble, self._tally, self._chance)
        finally:
            await self._stop()
        look_at(self._database)
        self._counts.update(self._mount.faults.figures)

    async def _trouble(self, work: Workload) -> None:
        faults = self._mount.faults
        if self._chance.random() < 0.7:
            faults.begin(self._chance.choice((*TROUBLES, STALLED)))
            self._counts["times of trouble with a disk"] += 1
            enough = faults.met + self._chance.choice((1, 3, 20, 100))
            with suppress(TimeoutError):
                await until(lambda: faults.met >= enough, "calls fail", seconds=_LONGEST_TROUBLE_SECONDS)
        if self._chance.random() < 0.8:
            # Perhaps in the middle of the trouble, which then goes on while the server starts.
            ways = (*(self._lose_power,) * 4, self._crash, self._restart)
            await self._chance.choice(ways)()
            work.check_history(look_at(self._database))
            await self._start()
        self._mount.faults.end()

    async def _lose_power(self) -> None:
        disk = self._mount.disk
        disk.lose_power(self._chance.randrange(_MOST_CHANGES))
        try:
            await until(lambda: disk.lost, "it makes changes", seconds=_LONGEST_TROUBLE_SECONDS)
        except TimeoutError:
            disk.lose_power()
        await self._stop()
        self._replace(self._mounts.mount(self._new_place(), self._chance, disk.files_after_loss()))
        self._counts["losses of power"] += 1

    async def _crash(self) -> None:
        """What was written stands in the files, synced or not."""
        before = self._mount
        self._replace(self._mounts.after_crash(before, self._new_place(), self._chance))
        before.faults.let_go()
        await self._machine.stop()
        self._counts["crashes after trouble"] += 1

    async def _restart(self) -> None:
        await self._stop()
        self._counts["stops in trouble"] += 1

    def _replace(self, mount: Mount) -> None:
        self._counts.update(self._mount.faults.figures)
        self._mount = mount

    def _new_place(self) -> Path:
        """For a disk, so that whoever still uses the old one does no harm."""
        self._disks += 1
        return self._folder / f"disk-{self._disks}"

    async def _start(self) -> None:
        """With a disk in trouble it may not succeed at once."""
        while not await self._starts():
            disk = self._mount.disk
            if disk.lost:
                await self._stop()
                self._replace(self._mounts.mount(self._new_place(), self._chance, disk.files_after_loss()))
                self._counts["losses of power at a start"] += 1
            elif self._chance.random() < 0.5:
                self._mount.faults.end()

    async def _starts(self) -> bool:
        """Perhaps the power is lost meanwhile."""
        disk = self._mount.disk
        if self._chance.random() < 0.2:
            disk.lose_power(self._chance.randrange(_MOST_CHANGES_OF_A_START))
        try:
            await self._machine.start(url_of(self._database))
        except StartupError:
            self._counts["starts that failed"] += 1
            return False
        finally:
            disk.keep_power()
        return not disk.lost

    async def _stop(self) -> None:
        self._mount.faults.let_go()
        await self._machine.stop()

    @property
    def _database(self) -> Path:
        return self._mount.folder / "facts.db"
