"""Runs the command `factstr` as a process that goes on by itself, in a pipe or on a terminal of its own."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.waiting import wait_until

CTRL_C: Final = b"\x03"

_PATIENCE: Final = 30.0


class RunningCommand:
    """`factstr` under way: what it writes can be awaited, and what it is told can be typed or sent."""

    def __init__(self, target: str, *arguments: str, terminal: bool = False, **environment: str) -> None:
        ours = {
            name: value for name, value in os.environ.items() if name not in ("GRPC_VERBOSITY", "NO_COLOR")
        }
        ours |= {"FACTSTR_TARGET": target, "TERM": "xterm", **environment}
        command = [sys.executable, "-m", "factstr", *arguments]
        self._seen = b""
        if terminal:
            self._out, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
            # A session's leader that opens a terminal gets it for its own, with Ctrl-C and all.
            command = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command]
            self._process = subprocess.Popen(command, env=ours, start_new_session=True)
            self._inherited = theirs
        else:
            self._out, theirs = os.pipe()
            self._inherited = os.open(os.devnull, os.O_RDONLY)
            self._process = subprocess.Popen(
                command, env=ours, stdin=self._inherited, stdout=theirs, stderr=subprocess.PIPE
            )
            os.close(theirs)

    def read_until(self, text: str) -> str:
        """Return what it has written up to the end of this text; what follows is kept for the next time."""
        wanted = text.encode()
        while wanted not in self._seen:
            assert select.select([self._out], [], [], _PATIENCE)[0], f"nothing follows {self._seen!r}"
            more = os.read(self._out, 65_536)
            assert more, f"it ended after {self._seen!r}"
            self._seen = (self._seen + more).replace(b"\r\n", b"\n")
        before, _, self._seen = self._seen.partition(wanted)
        return (before + wanted).decode()

    def close_output(self) -> None:
        """Be a reader that goes away."""
        os.close(self._out)
        self._out = os.open(os.devnull, os.O_RDONLY)

    def press(self, keys: bytes) -> None:
        os.write(self._out, keys)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def read_error_line(self) -> str:
        """Return the next line on stderr, of a command in a pipe."""
        assert self._process.stderr is not None
        return self._process.stderr.readline().decode()

    def settle(self) -> None:
        """Wait until it waits again. A signal that comes just before a Python process waits is noticed only when that
        wait is over: no person is that quick, but a test is.
        """
        stat = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/stat")
        wait_until(
            lambda: stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "S", "it waits again"
        )

    def errors(self) -> str:
        """Return the rest of stderr, of a command in a pipe that has ended or is about to."""
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    def wait(self) -> int:
        return self._process.wait(_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with self._process:
            os.close(self._out)
            os.close(self._inherited)
