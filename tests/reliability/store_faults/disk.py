"""A disk that can lose its power: of every file what is durable, and what was written since.

After a loss of power a file holds what was durable when it was last synced, and of what was written after that any
sectors, wholly, in part or not at all, in any order; its length is any that it has had. Cuts survive in their order.

A sync that fails has made some of what was written durable, and forgotten the rest: as Linux does, which takes pages
for clean that it could not write. Reading still shows them, and no later sync brings them to the disk.

Names are durable once the folder is synced. Until then a loss of power undoes the latest changes of names, any number
of them. ext4 in its usual mode (data=ordered) is milder in both: any sync makes all earlier names durable, and a file
that is longer holds what was written there.
"""

import threading
from collections.abc import Iterator, Mapping
from copy import deepcopy
from random import Random
from typing import Final, NamedTuple, TypeAlias

SECTOR_BYTES: Final = (512, 4_096)
_SURVIVES: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Odds of a sector, one of these for each loss."""
_TORN: Final = 0.02
"""Odds of a sector that does not survive wholly."""


class _Written(NamedTuple):
    offset: int
    data: bytes


class _Cut(NamedTuple):
    size: int


_Change: TypeAlias = _Written | _Cut


class Content:
    """What a name leads to."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self._unsynced: list[_Change] = []

    def write(self, offset: int, data: bytes) -> None:
        self._unsynced.append(_Written(offset, data))

    def cut(self, size: int) -> None:
        self._unsynced.append(_Cut(size))

    def sync(self) -> None:
        for change in self._unsynced:
            if isinstance(change, _Cut):
                _resize(self.durable, change.size)
            else:
                _put(self.durable, *change)
        self._unsynced.clear()

    def fail_to_sync(self, chance: Random) -> None:
        self.durable = self.after_loss(chance, chance.choice(SECTOR_BYTES), chance.choice(_SURVIVES))
        self._unsynced.clear()

    def after_loss(self, chance: Random, sector_bytes: int, survives: float) -> bytearray:
        content = bytearray(self.durable)
        longest = len(content)
        cuts = chance.randint(0, sum(isinstance(change, _Cut) for change in self._unsynced))
        for change in self._unsynced:
            if isinstance(change, _Cut):
                if cuts:
                    _resize(content, change.size)
                cuts -= 1
                continue
            longest = max(longest, change.offset + len(change.data))
            for offset, part in _sectors(change, sector_bytes):
                if chance.random() < survives:
                    _put(content, offset, part)
                elif chance.random() < _TORN:
                    _put(content, offset, part[: chance.randrange(len(part))])
        if chance.random() < survives:
            _resize(content, max(len(content), chance.randint(0, longest)))
        return content


class Disk:
    """The files of one folder. Its methods may be called by any thread."""

    def __init__(self, files: Mapping[str, bytes], chance: Random) -> None:
        self._chance = chance
        self._names = {name: Content(data) for name, data in files.items()}
        self._durable_names = dict(self._names)
        self._unsynced_names: list[tuple[str, Content | None]] = []
        self._lock = threading.Lock()
        self._left: int | None = None
        """So many changes are made before the power is lost; None = it is not."""
        self.lost = False
        """Nothing can be done any more."""

    def lose_power(self, after: int = 0) -> None:
        """At the change that comes after so many others."""
        with self._lock:
            self._left = after
            self.lost = not after

    def keep_power(self) -> None:
        """If it is not lost by now."""
        with self._lock:
            self._left = 0 if self.lost else None

    def check(self) -> None:
        """Raises PowerLost."""
        if self.lost:
            raise PowerLost

    def open(self, name: str) -> Content:
        """There is one from now on, if there was none."""
        with self._lock:
            if name not in self._names:
                self._change()
                self._names[name] = Content()
                self._unsynced_names.append((name, self._names[name]))
            return self._names[name]

    def delete(self, name: str) -> None:
        with self._lock:
            self._change()
            if self._names.pop(name, None):
                self._unsynced_names.append((name, None))

    def write(self, content: Content, offset: int, data: bytes) -> None:
        with self._lock:
            self._change()
            content.write(offset, data)

    def cut(self, content: Content, size: int) -> None:
        with self._lock:
            self._change()
            content.cut(size)

    def sync(self, content: Content, *, folder: bool) -> None:
        """And the names in its folder, if asked for."""
        with self._lock:
            self._change()
            content.sync()
            if folder:
                self._make_names_durable(len(self._unsynced_names))

    def fail_to_sync(self, content: Content) -> None:
        with self._lock:
            self._change()
            content.fail_to_sync(self._chance)

    def after_crash(self) -> "Disk":
        """The same, when only those who used it have ended."""
        disk = Disk({}, Random(self._chance.random()))
        with self._lock:
            books = self._names, self._durable_names, self._unsynced_names
            disk._names, disk._durable_names, disk._unsynced_names = deepcopy(books)
        return disk

    def files_after_loss(self) -> dict[str, bytes]:
        """What is found when the power is back."""
        assert self.lost
        with self._lock:
            self._make_names_durable(self._chance.randint(0, len(self._unsynced_names)))
            sector, survives = self._chance.choice(SECTOR_BYTES), self._chance.choice(_SURVIVES)
            return {
                name: bytes(content.after_loss(self._chance, sector, survives))
                for name, content in self._durable_names.items()
            }

    def _make_names_durable(self, changes: int) -> None:
        """The first ones."""
        for name, content in self._unsynced_names[:changes]:
            if content:
                self._durable_names[name] = content
            else:
                del self._durable_names[name]
        del self._unsynced_names[:changes]

    def _change(self) -> None:
        """Raises PowerLost."""
        self.check()
        if self._left is not None:
            self.lost = self._left == 0
            self.check()
            self._left -= 1


class PowerLost(Exception):
    """The disk has no power."""


def _sectors(written: _Written, sector_bytes: int) -> Iterator[tuple[int, bytes]]:
    """What was written to each."""
    begin = 0
    while begin < len(written.data):
        offset = written.offset + begin
        end = begin + sector_bytes - offset % sector_bytes
        yield offset, written.data[begin:end]
        begin = end


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
