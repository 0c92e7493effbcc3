"""UmaDB, another event store of the same kind, to measure FACTSTR beside: a server and a client process of their own.

It is tagged in two ways. FACTSTR's queries may name any member of any payload, UmaDB's only what was given as a tag:
one tag is the least that a context needs, and a tag for every member is what answers FACTSTR's queries.
"""

import asyncio
import shutil
import socket
import sys
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.comparison import Variant
from benchmarks.load import Sample
from benchmarks.processes import ServerProcess, running
from benchmarks.workers import Worker, worker

ONE_TAG: Final = "UmaDB, one tag"
EVERY_MEMBER: Final = "UmaDB, a tag for every member"
PEERS: Final = (ONE_TAG, EVERY_MEMBER)


class Peer:
    """A server on an empty log, and its client."""

    def __init__(self, name: str, server: ServerProcess, client: Worker) -> None:
        self.name = name
        self._server = server
        self._client = client
        self._acknowledged = 0

    async def appends(self, events: int, callers: int, seconds: float) -> Variant:
        """So many events each, by a thread for each caller."""
        await self._client.ask("prepare", events=events)

        async def measure() -> Sample:
            sample = await self._measured("append", events=events, threads=callers, seconds=seconds)
            self._acknowledged += events * sample.calls
            return sample

        return Variant(self.name, measure, {"events": events, "callers": callers}, events)

    async def fill(self, facts: int) -> None:
        """With the facts of `benchmarks.stream_facts`; looks at each of them afterwards."""
        await self._client.ask("fill", facts=facts)
        self._acknowledged += facts

    async def read(self) -> Sample:
        """Reads everything, as one call."""
        return await self._measured("read", facts=self._acknowledged)

    async def check(self) -> str:
        await self._client.ask("check", acknowledged=self._acknowledged)
        return f"{self.name}: its log holds the {self._acknowledged:,} events that it acknowledged"

    async def _measured(self, what: str, **arguments: object) -> Sample:
        cpu = self._server.cpu_seconds()
        answer: dict[str, Any] = await self._client.ask(what, **arguments)
        latencies = array("d", answer.get("latencies", [answer["seconds"]]))
        used = self._server.cpu_seconds() - cpu
        return Sample(latencies, answer["seconds"], used, answer["cpu_seconds"])


def peer_version() -> str | None:
    """None where it is not installed."""
    try:
        return version("umadb")
    except PackageNotFoundError:
        return None


@asynccontextmanager
async def peers(folder: Path) -> AsyncIterator[list[Peer]]:
    """One for each way to tag; none where UmaDB is not installed."""
    async with AsyncExitStack() as stack:
        if peer_version() is None:
            yield []
        else:
            async with asyncio.TaskGroup() as group:
                starting = [
                    group.create_task(stack.enter_async_context(_peer(name, folder))) for name in PEERS
                ]
            yield [task.result() for task in starting]


@asynccontextmanager
async def _peer(name: str, folder: Path) -> AsyncIterator[Peer]:
    """With its defaults: an append is answered once it is on the disk."""
    tagged = "every-member" if name == EVERY_MEMBER else "one-tag"
    data = folder / f"umadb-{tagged}"
    data.mkdir()
    program = str(Path(sys.executable).with_name("umadb"))
    command = [program, "--listen", f"127.0.0.1:{_free_port()}", "--db-path", str(data)]
    async with (
        running(command, data.with_suffix(".log")) as server,
        worker("benchmarks.peer_client", server.address, tagged) as client,
    ):
        yield Peer(name, server, client)
    await asyncio.to_thread(shutil.rmtree, data)


def _free_port() -> int:
    """UmaDB does not say which port it was given for 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
