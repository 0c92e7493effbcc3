"""Processes as Linux shows them in /proc: those below another one, and how all of them end at once."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_until


class Process(NamedTuple):
    """One process. A number is used again, but not with the same time of its start."""

    pid: int
    parent: int
    state: str
    started: int

    @property
    def runs(self) -> bool:
        """Whether it is still there. A zombie has given back all that it held, and waits for its parent only."""
        now = process(self.pid)
        return now is not None and now.started == self.started and now.state not in "ZX"


def process(pid: int) -> Process | None:
    try:
        # The second field, the name, is in parentheses and may hold anything.
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, int(fields[1]), fields[0], int(fields[19]))


def children(pid: int) -> list[Process]:
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [found for number in numbers if (found := process(number)) is not None and found.parent == pid]


def stop_with_children(parent: Process) -> list[Process]:
    """Stops a process and its children where they are, by SIGSTOP. Returns them when they have stopped.

    Each child of PostgreSQL's makes a session of its own, so no signal to a group would reach them.
    """
    # Stopped, it starts no more children, and the numbers of those that end stay theirs.
    _stop([parent])
    stopped = [*children(parent.pid), parent]
    _stop(stopped)
    return stopped


def _stop(processes: list[Process]) -> None:
    for each in processes:
        send(each, signal.SIGSTOP)
    wait_until(
        lambda: all(
            not each.runs or ((now := process(each.pid)) is not None and now.state in "Tt")
            for each in processes
        ),
        f"processes {[each.pid for each in processes]} stop",
    )


def kill_with_children(parent: Process) -> None:
    """Ends a process and its children by SIGKILL, and returns when they are gone."""
    doomed = stop_with_children(parent)
    for each in doomed:
        send(each, signal.SIGKILL)
    wait_until(
        lambda: not any(each.runs for each in doomed), f"process {parent.pid} and its children are gone"
    )


def send(receiver: Process, number: signal.Signals) -> None:
    if receiver.runs:
        with suppress(ProcessLookupError):
            os.kill(receiver.pid, number)
