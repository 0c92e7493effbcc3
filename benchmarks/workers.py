"""Processes that are not servers: clients that do as they are told, and those that fill a log."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.facts import VARIABLE
from benchmarks.ledger import CheckFailed
from benchmarks.processes import STOP_SECONDS, ProcessFailed, process_environment

_ROOT: Final = Path(__file__).parents[1]
_LONGEST_LINE: Final = 64 * 1024 * 1024


class Worker:
    """A client process that does one thing after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """Sends a command and waits for its answer. Raises CheckFailed where the client found something wrong."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise ProcessFailed(f"the client process ended while it was asked to {what}")
        answer: dict[str, Any] = json.loads(line)
        if "check_failed" in answer:
            raise CheckFailed(answer["check_failed"])
        return answer


@asynccontextmanager
async def worker(module: str = "benchmarks.stream_client", *arguments: str) -> AsyncIterator[Worker]:
    """A client process, for the length of a block. The module answers lines of JSON until its input ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        env=_environment(),
        cwd=_ROOT,
        limit=_LONGEST_LINE,
    )
    try:
        yield Worker(process)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def filled(store: str, plan: str, facts: int, contexts: int | None = None) -> None:
    """Makes a log (`benchmarks.filling`) in the store of a URL."""
    words = [store, plan, str(facts)]
    if contexts is not None:
        words.append(str(contexts))
    await printed("benchmarks.filling", *words)


async def printed(module: str, *arguments: str) -> str:
    """What a module prints that is run to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=DEVNULL, stdout=PIPE, env=_environment(), cwd=_ROOT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise ProcessFailed(f"{module} {' '.join(arguments)} ended with code {process.returncode}")
    return output.decode()


def _environment() -> dict[str, str]:
    """As a server's; but which facts there are must be known."""
    named = {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
    return process_environment() | named
