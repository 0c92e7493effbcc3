"""Owns running the user's command on one batch, and ending it when that cannot wait."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_SECONDS_TO_END: Final = 2.0


def run_command(command: str, stdin: bytes, environment: Mapping[str, str]) -> int:
    """Run a command by the shell and return its exit code; below 0 it is the signal that ended it.

    Whether it reads its stdin is its own matter. It gets a process group of its own, because Ctrl-C reaches the whole
    group that a terminal shows, and what is under way is to be finished. Whatever is raised here ends the group.
    """
    with subprocess.Popen(  # noqa: S602  (the shell, as the user of --exec asks)
        command,
        shell=True,
        stdin=subprocess.PIPE,
        env={**os.environ, **environment},
        process_group=0,
    ) as process:
        try:
            process.communicate(stdin)
        except BaseException:
            _end(process)
            raise
    return process.returncode


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)
    finally:
        # Also when another signal did not let it wait.
        if process.poll() is None:
            _signal(process, signal.SIGKILL)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
