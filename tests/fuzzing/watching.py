"""The server as a process that tells what it holds: whatever is done to it, it should hold no more afterwards."""

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.prometheus.scraping import samples
from tests.sharing.servers import ServerProcess
from tests.waiting import until

SETTLING_SECONDS: Final = 40.0
"""In which the server must have forgotten connections: it waits up to 20 s for those that never say what they are."""


class Held(NamedTuple):
    tasks: int
    objects: int
    """That Python's garbage collector knows, but for those that were there when the server started."""
    files: int
    """Descriptors."""
    threads: int
    memory_kib: int
    """Resident."""
    sqlite_kib: int
    """Of that, what SQLite has allocated."""
    kinds: Mapping[str, int]
    """The objects, by type."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items() if name != "kinds")


class Watched:
    """The server as a process, and what it holds."""

    def __init__(self, folder: Path, url: str) -> None:
        """Started, but not ready."""
        self._report = folder / "report"
        program = (str(Path(__file__).with_name("watched_server.py")), str(self._report))
        flags = ("--log-calls", "failed", "--metrics-listen", "127.0.0.1:0")
        # Otherwise each of its threads takes memory of its own for large requests, one after the other, and keeps it.
        environment = {"MALLOC_ARENA_MAX": "1"}
        self.process = ServerProcess(url, folder / "log", *flags, program=program, environment=environment)

    async def held(self) -> Held:
        """Once every call that has begun has ended."""
        await until_quiet(self.process.metrics_address())
        return await self.held_now()

    async def held_now(self) -> Held:
        """One at a time."""
        before = self._newest()["number"]
        self.process.send(signal.SIGUSR2)
        await until(lambda: self._newest()["number"] > before, "the server reports what it holds")
        return Held(**self._newest()["held"])

    async def settled(self, well: Callable[[Held], bool]) -> Held:
        """When all is well with what it holds; at the latest after a while, however it is then."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLING_SECONDS
        while True:
            held = await self.held()
            if well(held) or loop.time() > end:
                return held
            await asyncio.sleep(0.5)

    def _newest(self) -> dict[str, Any]:
        if not self._report.exists():
            return {"number": 0}
        report: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        return report


async def until_quiet(metrics: str) -> None:
    """Every call that has begun has ended."""
    async with asyncio.timeout(60):
        while True:
            found = await samples(metrics)
            begun, ended = (
                sum(sample.value for sample in found if sample.name == name)
                for name in ("grpc_server_started_total", "grpc_server_handled_total")
            )
            if begun == ended:
                return
            await asyncio.sleep(0.05)


def of_defects(log: str) -> list[str]:
    """Lines that tell of defects; not those of gRPC itself, which prints where it stood when a call was none."""
    return [
        line
        for line in log.splitlines()
        if "error_id" in line or " ERROR " in line or (line.startswith("  File ") and "/_cygrpc/" not in line)
    ]
