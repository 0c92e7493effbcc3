"""A copy by the command that is held in the middle: it has written all facts, and can say so to nobody.

Its progress goes to a pipe that has room for the first line alone, so that it waits at the second.
"""

import asyncio
import fcntl
import os
import sys
from contextlib import suppress
from typing import Final, Self

import apsw
import psycopg

from tests.conformance.streams import eventually
from tests.copying.conftest import Places
from tests.copying.content import path_of, schema_of, select
from tests.copying.copied import Ended

_PIPE_BYTES: Final = 4_096


class HeldCopy:
    """A process. Killed at the end of the block, if it has not ended before."""

    process: asyncio.subprocess.Process

    def __init__(self, places: Places, facts: int) -> None:
        self._places = places
        self._facts = facts

    async def __aenter__(self) -> Self:
        self._said, theirs = os.pipe()
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.write(theirs, bytes(_PIPE_BYTES - len(f"copying: 0 of {self._facts} facts (0 %)\n")))
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "factstr_server", "copy"),
            *("--from", self._places.source, "--to", self._places.target),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        await eventually(self._written, lambda count: count == self._facts)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        os.close(self._said)

    async def let_go(self) -> Ended:
        """Hears it to its end."""
        said = b""
        while more := await asyncio.to_thread(os.read, self._said, _PIPE_BYTES):
            said += more
        out, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), said.strip(b"\0").decode().splitlines())

    async def _written(self) -> int:
        with suppress(apsw.Error, psycopg.Error):
            return int(select(self._places.target, "SELECT count(*) FROM records")[0][0])
        return 0


def remove(url: str) -> None:
    """As the refusal says."""
    if url.startswith("sqlite"):
        for path in path_of(url).parent.iterdir():
            path.unlink()
    else:
        select(url, f"DROP SCHEMA {schema_of(url)} CASCADE")
