"""Copies stores, in this process or by the command."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from factstr_server.stores.copying import Copied, Progress, copy_store
from factstr_server.stores.offline import source_by_url, target_by_url

_PATIENCE_SECONDS: Final = 30.0


def in_silence(doing: str, done: int, total: int) -> None:
    """No progress is shown."""


async def copied(source: str, target: str, progress: Progress = in_silence) -> Copied:
    return await copy_store(source_by_url(source), target_by_url(target), progress)


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    errors: list[str]
    """Line by line."""

    @property
    def failure(self) -> str:
        """The one line that it failed with."""
        assert self.code == 1, self
        assert self.errors[-1].startswith("factstr-server: ")
        assert "Traceback" not in "".join(self.errors)
        return self.errors[-1]


async def command(*arguments: str, prepare: Callable[[], None] | None = None) -> Ended:
    """`factstr-server` with these arguments, to its end."""
    async with running(*arguments, prepare=prepare) as process:
        return await ended(process)


@asynccontextmanager
async def running(
    *arguments: str, prepare: Callable[[], None] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Killed at the end, if it has not ended before. `prepare` is called in the new process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "factstr_server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")},
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Fails where it goes on, such as a server that should have refused to start."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode().splitlines())
