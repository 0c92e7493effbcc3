"""The real `factstr-server`, as an operator starts and ends it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.waiting import wait_until


class ServerProcess:
    """Of one test, which ends it."""

    def __init__(self, log: Path, *flags: str, **environment: str) -> None:
        """Started, but not ready."""
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "factstr_server", *flags],
                stdin=subprocess.PIPE if "--stop-at-eof" in flags else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> "ServerProcess":
        """Once it serves."""
        wait_until(lambda: " serves " in self.said or not self.runs, "it serves")
        assert self.runs, self.said
        return self

    def found(self, pattern: str) -> str:
        """What the group of a pattern is in what it said."""
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]

    @property
    def address(self) -> str:
        return self.found(r" serves .* on ([^\s,\"]+)")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end_input(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def ended(self, seconds: float = 30) -> int:
        """The exit code."""
        return self._process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """By SIGKILL, if it runs still."""
        if self.runs:
            self._process.kill()
        self._process.wait()
