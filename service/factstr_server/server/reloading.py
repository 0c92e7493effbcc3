"""Looks once a second whether files have changed, and tells who uses them.

By looking, because that works for every way in which files are replaced: in place, by renaming, and by the links that
Kubernetes turns. What cannot be used is told in the log, once, and looked at again when it changes again.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

LOOK_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

_FileState: TypeAlias = tuple[int, int, int, int]


class Reloading:
    """Used in one event loop."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._task: asyncio.Task[None] | None = None

    def watch(self, what: str, paths: Iterable[str], load: Callable[[], object]) -> None:
        """`load` is called after a change to any of the paths; what it raises goes to the log."""
        self._watched.append(_Watched(what, tuple(paths), load))

    def start(self) -> None:
        if self._watched:
            self._task = asyncio.create_task(self._look_again_and_again(), name="reloading")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def look(self) -> None:
        """Reads what has changed."""
        for watched in self._watched:
            watched.look()

    def read_again(self) -> None:
        """Reads everything, whether or not it seems to have changed."""
        for watched in self._watched:
            watched.read()

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()


class _Watched:
    def __init__(self, what: str, paths: tuple[str, ...], load: Callable[[], object]) -> None:
        self._what = what
        self._paths = paths
        self._load = load
        self._state = self._seen()

    def look(self) -> None:
        state = self._seen()
        if state == self._state:
            return
        self._state = state
        self.read()

    def read(self) -> None:
        try:
            self._load()
        except Exception as error:  # noqa: BLE001  (a file that cannot be used must not end the looking)
            _log.error("%s: %s; what was read before holds further", self._what, error)
        else:
            _log.info("%s: read again", self._what)

    def _seen(self) -> "tuple[_FileState | None, ...]":
        return tuple(map(_state_of, self._paths))


def _state_of(path: str) -> _FileState | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (follows links, which is what is wanted)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
