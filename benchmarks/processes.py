"""Servers as processes of their own: FACTSTR's, and the empty one. Started, watched and stopped here."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

START_SECONDS: Final = 30
STOP_SECONDS: Final = 30

_ROOT: Final = Path(__file__).parents[1]
_LISTENS: Final = re.compile(r"(?:listen\w+|serves .*) on (127\.0\.0\.1:\d+)\b.*\n")
_SETTINGS: Final = ("FACTSTR_", "GRPC_", "UMADB_")


class ProcessFailed(Exception):
    """A process did not start, or did not end as it should. A server's message holds what it wrote."""


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

    def memory_mib(self) -> float | None:
        """What it holds now."""
        return self._memory_mib("VmRSS")

    def peak_memory_mib(self) -> float | None:
        """The most memory that it held at once."""
        return self._memory_mib("VmHWM")

    def _memory_mib(self, name: str) -> float | None:
        try:
            status = (self._process / "status").read_text()
        except FileNotFoundError:
            return None
        sizes = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name)]
        return sizes[0] if sizes else None


def process_environment() -> dict[str, str]:
    """Without this process's settings: defaults are what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


def sqlite_url(database: Path) -> str:
    return f"sqlite:///{database}"


@asynccontextmanager
async def factstr_server(database: Path) -> AsyncIterator[ServerProcess]:
    """FACTSTR on a SQLite file, with its defaults: every commit is durable before it is answered."""
    async with factstr_server_on(sqlite_url(database), database.with_suffix(".log")) as server:
        yield server


@asynccontextmanager
async def factstr_server_on(store: str, log: Path) -> AsyncIterator[ServerProcess]:
    """FACTSTR on the store of a URL, with its defaults. What it says goes to the log."""
    words = ["factstr_server", "serve", "--store", store, "--listen", "127.0.0.1:0"]
    async with running([sys.executable, "-m", *words], log) as server:
        yield server


@asynccontextmanager
async def empty_server(folder: Path) -> AsyncIterator[ServerProcess]:
    """The server of `benchmarks.empty_rpc`."""
    async with running([sys.executable, "-m", "benchmarks.empty_rpc"], folder / "empty.log") as server:
        yield server


@asynccontextmanager
async def running(command: Sequence[str], log: Path) -> AsyncIterator[ServerProcess]:
    """A server that says where it listens, there or in what it prints."""
    with _opened(log) as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=output, stderr=output, env=process_environment(), cwd=_ROOT
        )
    try:
        yield ServerProcess(await _address(command, process, log), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            code = await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            code = await process.wait()
    if code != 0:
        raise ProcessFailed(f"{' '.join(command)} ended with code {code}:\n{_written(log)}")


async def _address(command: Sequence[str], process: Process, log: Path) -> str:
    """Waits for the line that says what the server listens on."""
    for _ in range(START_SECONDS * 20):
        if found := _LISTENS.search(_written(log)):
            return found[1]
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise ProcessFailed(f"{' '.join(command)} did not listen within {START_SECONDS} s:\n{_written(log)}")


def _opened(log: Path) -> BinaryIO:
    return log.open("wb")


def _written(log: Path) -> str:
    return log.read_text()
