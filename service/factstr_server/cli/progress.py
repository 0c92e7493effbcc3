"""How far a long command is, told on stderr."""

import time
from contextlib import suppress
from typing import Final, TextIO

_LINES_APART_SECONDS: Final = 2.0
_REDRAWN_AFTER_SECONDS: Final = 0.2


class ProgressLines:
    """A line at a time, or on a terminal one line that is drawn again; nothing where there is nowhere to say it."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._terminal = out is not None and out.isatty()
        self._apart = _REDRAWN_AFTER_SECONDS if self._terminal else _LINES_APART_SECONDS
        self._doing = ""
        self._began = self._shown = 0.0
        self._drawn = False

    def __call__(self, doing: str, done: int, total: int, of: str = "facts") -> None:
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._began = doing, now
        elif done < total and now < self._shown + self._apart:
            return
        self._shown = now
        seconds = now - self._began
        rate = f", {done / seconds:,.0f} {of}/s" if seconds and done else ""
        line = f"{doing}: {done:,} of {total:,} {of} ({100 * done // total if total else 100} %){rate}"
        self._write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._drawn = self._terminal
        if done == total:
            self.end()

    def end(self) -> None:
        """What is written next begins a line of its own."""
        if self._drawn:
            self._write("\n")
            self._drawn = False

    def _write(self, text: str) -> None:
        """Whether anybody reads it makes no difference to the command."""
        if self._out is None:
            return
        with suppress(OSError):
            self._out.write(text)
            self._out.flush()
