"""Owns what Ctrl-C, SIGTERM and a closed terminal do to a command that goes on until it is told to stop."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The user, or whatever supervises the command, ends it. `at_once` when it was the second time of asking."""

    def __init__(self, number: int, *, at_once: bool) -> None:
        super().__init__()
        self.number = number
        self.at_once = at_once

    @property
    def exit_code(self) -> int:
        """As a shell has it."""
        return 128 + self.number


class Stopping:
    """Raises Stopped for each of the signals while it is entered; what is under way may be finished before."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that asks to stop after what is under way."""
        self._under_way: str | None = None
        self._restore = ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Who started this may have had it ignored: a shell does so for its jobs in the background.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._restore.callback(signal.signal, number, signal.signal(number, self._on_signal))
        return self

    def __exit__(self, *_: object) -> None:
        self._restore.close()

    @contextmanager
    def finishing(self, what: str) -> Iterator[None]:
        """Put off the first signal until this is done; a second one still raises Stopped."""
        self._under_way = what
        try:
            yield
        finally:
            self._under_way = None

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        at_once = self.asked is not None
        self.asked = number
        if self._under_way is None or at_once:
            raise Stopped(number, at_once=at_once)
        # A terminal has just shown ^C. Written around sys.stderr, which may be in the middle of a line of its own.
        begin = "\n" if number == signal.SIGINT and sys.stderr.isatty() else ""
        words = f"{begin}factstr: stopping after {self._under_way}; once more to stop at once\n"
        with suppress(OSError):  # of a terminal that was closed
            os.write(sys.stderr.fileno(), words.encode())
