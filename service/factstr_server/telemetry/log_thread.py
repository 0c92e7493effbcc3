"""Writes the log's lines in a thread of its own: whoever reads them, or a disk that is full, holds nobody up.

Lines that find no room are left out and counted. A write that fails is forgotten. The thread may be stuck in a write
when the process ends: it writes to the file descriptor itself, so that nothing waits for it then.
"""

import os
import threading
from collections import deque
from typing import Final

MOST_LINES: Final = 10_000
"""That wait to be written."""


class LogThread:
    """Has the methods of a stream that logging takes. May be used by any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._changed = threading.Condition()
        self._writing = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: str) -> None:
        with self._changed:
            if len(self._lines) < MOST_LINES:
                self._lines.append(line)
                self._changed.notify_all()
            else:
                self._left_out += 1

    def flush(self) -> None:
        """Happens by itself."""

    def drain(self, seconds: float) -> None:
        """Waits until all lines are written, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                text = "".join(self._lines)
                if self._left_out:
                    text += f"factstr-server: {self._left_out} lines of the log found no room\n"
                self._lines.clear()
                self._left_out = 0
                self._writing = True
            self._write(text.encode("utf-8", "replace"))

    def _write(self, rest: bytes) -> None:
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                return
