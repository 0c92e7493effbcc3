"""Owns a memory server for a test: started, connected to, and stopped with it.

from factstr.testing import server

with server() as target, factstr.connect(target) as store:
    ...

It needs `factstr-server` on the path, or its command line in FACTSTR_SERVER.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import IO, Final

_FLAGS: Final = ("--store", "memory:", "--listen", "127.0.0.1:0", "--log-format", "text", "--stop-at-eof")
_SECONDS_TO_STOP: Final = 30


@contextmanager
def server() -> Iterator[str]:
    """Run a memory server for the length of a block; its target is what `connect` takes.

    It ends when its standard input does, so also when this process is killed. Raises RuntimeError, with what the server
    said, when it does not start, or there is no such command.
    """
    named = os.environ.get("FACTSTR_SERVER") or "factstr-server"
    command = [*shlex.split(named), *_FLAGS]
    # Only the flags above say how it runs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")}
    try:
        process = subprocess.Popen(  # noqa: S603  (the caller's own command)
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
    except FileNotFoundError as missing:
        raise RuntimeError(
            f"there is no {command[0]}: install factstr-server, or name its command in FACTSTR_SERVER"
        ) from missing
    with process:
        assert process.stdin
        assert process.stderr
        # What it says later must not fill the pipe, or it would wait.
        rest = Thread(target=process.stderr.read, daemon=True, name="factstr-server log")
        try:
            target = _ready(process.stderr)
            rest.start()
            yield target
        finally:
            process.stdin.close()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
            if rest.ident:
                rest.join()


def _ready(log: IO[str]) -> str:
    said = []
    for line in log:
        if found := re.search(r" serves .* on (\S+)$", line):
            return found[1]
        said.append(line)
    raise RuntimeError(f"the server did not start: {''.join(said).strip() or 'it said nothing'}")
