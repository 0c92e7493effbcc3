"""The real server as a process of its own, for what neither client nor server can show alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path


class Server:
    """`factstr-server` on a SQLite file and a Unix socket; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.target = f"unix:{folder}/factstr.sock"
        # An old client's environment has no server: there, another environment's Python runs it.
        python = os.environ.get("FACTSTR_TEST_SERVER_PYTHON", sys.executable)
        self._command = [python, "-m", "factstr_server", "--store", f"sqlite:///{folder}/facts.db"]
        self._command += ["--listen", self.target]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            if " serves " in line:
                return
            said.append(line)
        raise AssertionError("".join(said))

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with self._process:
                self._process.send_signal(how)
            self._process = None
