"""What outlives the tests: a process that clears up behind them if they end without doing so themselves.

A test that hangs ends the whole run at once (pytest-timeout), a run can be killed, and neither leaves time for
anything. So a process of its own is told what there is, reads until the tests are gone, and then ends those
PostgreSQLs that still run and removes the folders. After an orderly end there is nothing left for it to do.
"""

import atexit
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.postgres.processes import Process, kill_with_children, process, send
from tests.waiting import wait_until


def watch_folder(folder: Path) -> None:
    """Have this folder removed when the tests have ended."""
    _tell(f"folder {folder}")


def watch_process(started: Process) -> None:
    """Have this PostgreSQL ended when the tests have ended."""
    _tell(f"process {started.pid} {started.started}")


def _tell(line: str) -> None:
    pipe = _guard().stdin
    assert pipe is not None
    pipe.write(f"{line}\n")
    pipe.flush()


@cache
def _guard() -> subprocess.Popen[str]:
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres.guard"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        # Whoever reads what the tests print must not wait for this process too.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # The terminal's interrupt is for the tests.
        start_new_session=True,
        text=True,
    )
    # Before anything that it watches, so that at an orderly end it comes last, and finds nothing.
    atexit.register(guard.communicate)
    return guard


def end_postgres(postmaster: Process) -> None:
    """An immediate shutdown, which leaves no shared memory behind; and SIGKILL if that takes too long."""
    send(postmaster, signal.SIGQUIT)
    try:
        wait_until(lambda: not postmaster.runs, "PostgreSQL ends", seconds=10)
    except TimeoutError:
        kill_with_children(postmaster)


def main() -> None:
    """Reads to the end of its input, which is the end of the tests."""
    watched = [line.split(maxsplit=1) for line in sys.stdin]
    for kind, what in watched:
        if kind == "process":
            pid, started = map(int, what.split())
            now = process(pid)
            if now is not None and now.started == started and now.runs:
                end_postgres(now)
    for kind, what in watched:
        if kind == "folder":
            shutil.rmtree(what.rstrip("\n"), ignore_errors=True)


if __name__ == "__main__":
    main()
