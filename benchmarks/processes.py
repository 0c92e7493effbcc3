"""Servers as processes of their own: FACTSTR's, and the empty one. Started, watched and stopped here."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

START_SECONDS: Final = 30
STOP_SECONDS: Final = 30

_ROOT: Final = Path(__file__).parents[1]


class ServerFailed(Exception):
    """A server did not start, or did not stop as it should. The message holds what it wrote."""


class ServerProcess:
    """A server that listens on a port of the loopback interface."""

    def __init__(self, address: str, process_id: int) -> None:
        self.address = address
        self._process = Path("/proc") / str(process_id)

    def cpu_seconds(self) -> float:
        """What its threads have used so far. Says less about other processes' noise than any clock on the wall."""
        nanoseconds = 0
        for schedstat in self._process.glob("task/*/schedstat"):
            try:
                nanoseconds += int(schedstat.read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):  # the thread has just ended
                continue
        return nanoseconds / 1e9

    def peak_memory_mib(self) -> float | None:
        """The most memory that it held at once."""
        try:
            status = (self._process / "status").read_text()
        except FileNotFoundError:
            return None
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@asynccontextmanager
async def factstr_server(database: Path) -> AsyncIterator[ServerProcess]:
    """FACTSTR on a SQLite file, with its defaults: every commit is durable before it is answered."""
    words = ["factstr_server", "serve", "--store", f"sqlite:///{database}", "--listen", "127.0.0.1:0"]
    async with _running(words, database.with_suffix(".log")) as server:
        yield server


@asynccontextmanager
async def empty_server(folder: Path) -> AsyncIterator[ServerProcess]:
    """The server of `benchmarks.empty_rpc`."""
    async with _running(["benchmarks.empty_rpc"], folder / "empty.log") as server:
        yield server


@asynccontextmanager
async def _running(words: Sequence[str], log: Path) -> AsyncIterator[ServerProcess]:
    """With nothing of this process's settings: a server's defaults are what is measured."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("FACTSTR_", "GRPC_"))
    }
    with _opened(log) as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, stdin=DEVNULL, stderr=output, env=environment, cwd=_ROOT
        )
    try:
        yield ServerProcess(await _address(words[0], process, log), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            code = await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            code = await process.wait()
    if code != 0:
        raise ServerFailed(f"{words[0]} ended with code {code}:\n{_written(log)}")


async def _address(name: str, process: Process, log: Path) -> str:
    """Waits for the line that says what the server listens on; the address is its last word."""
    for _ in range(START_SECONDS * 20):
        text = _written(log)
        if "127.0.0.1:" in text and text.endswith("\n"):
            return text.split()[-1]
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise ServerFailed(f"{name} did not listen within {START_SECONDS} s:\n{_written(log)}")


def _opened(log: Path) -> BinaryIO:
    return log.open("wb")


def _written(log: Path) -> str:
    return log.read_text()
