"""Servers on a shared store: in this process, or as processes of their own that can be killed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import grpc

from factstr.v1.durable_stream_service_pb2_grpc import DurableStreamServiceStub
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from factstr.v1.server_service_pb2_grpc import ServerServiceStub
from factstr_server.contract.limits import DEFAULT_UNAVAILABLE_WAIT
from factstr_server.server import running
from factstr_server.settings import Settings
from tests.conformance.driver import Failure, Options, Query
from tests.conformance.streams import FROM_THE_BEGINNING, Batch, I, Start, Stream
from tests.conformance.wire import Wire
from tests.postgres.guard import watch_process
from tests.postgres.processes import process
from tests.waiting import wait_until

HEARTBEAT: Final = timedelta(seconds=1)
"""Short, so that a stream which says nothing for longer than a test waits is broken and not only quiet."""


PATIENCE_SECONDS: Final = 25.0
"""For one particular item of a stream, which says something all the time. More than a lease lasts."""


class PatientStream(Stream):
    """A stream of which a particular item is awaited for a bounded time, whatever else it says meanwhile."""

    async def next_of(self, kind: type[I]) -> I:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await super().next_of(kind)

    async def until_caught_up(self) -> list[Batch]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await super().until_caught_up()

    async def ended(self) -> Failure:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await super().ended()


class Remote(Wire):
    """A server that runs already, reached through a channel."""

    # Of its own for each: gRPC would let channels to one address share a connection.
    channel_options: Sequence[tuple[str, int]] = (("grpc.use_local_subchannel_pool", 1),)

    def __init__(self, address: str) -> None:
        super().__init__("", Options())
        self.address = address

    async def start(self) -> None:
        self.channel = grpc.aio.insecure_channel(self.address, self.channel_options)
        self._events = EventStoreServiceStub(self.channel)
        self._durable = DurableStreamServiceStub(self.channel)
        self._about = ServerServiceStub(self.channel)

    async def stop(self) -> None:
        await self.channel.close()

    def stream_all(self, after: int | None = None) -> Stream:
        return _patient(super().stream_all(after))

    def stream_to(self, query: Query, after: int | None = None) -> Stream:
        return _patient(super().stream_to(query, after))

    def stream_all_durable(
        self, name: str, *, window: int = 0, wait: bool = False, start: Start = FROM_THE_BEGINNING
    ) -> Stream:
        return _patient(super().stream_all_durable(name, window=window, wait=wait, start=start))

    def stream_to_durable(
        self,
        name: str,
        query: Query,
        *,
        window: int = 0,
        wait: bool = False,
        start: Start = FROM_THE_BEGINNING,
    ) -> Stream:
        return _patient(super().stream_to_durable(name, query, window=window, wait=wait, start=start))


def _patient(stream: Stream) -> Stream:
    return PatientStream(stream._read, stream._close)


@asynccontextmanager
async def serving(
    url: str,
    *,
    heartbeat_interval: timedelta = HEARTBEAT,
    unavailable_wait: timedelta = DEFAULT_UNAVAILABLE_WAIT,
) -> AsyncIterator[Remote]:
    """A server in this process."""
    settings = Settings(
        store=url,
        listen=("127.0.0.1:0",),
        heartbeat_interval=heartbeat_interval,
        unavailable_wait=unavailable_wait,
        drain=timedelta(seconds=2),
    )
    async with running(settings) as server, Remote(server.addresses[0]) as remote:
        yield remote


class ServerProcess:
    """The real `factstr-server` on a port of its own."""

    def __init__(
        self,
        url: str,
        log: Path,
        *flags: str,
        program: Sequence[str] = ("-m", "factstr_server"),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Started, but not ready: several can start at once. `program` is what Python is given to run, `environment`
        what it has beside our variables.
        """
        self._log = log
        command = [sys.executable, *program, "--store", url, "--listen", "127.0.0.1:0"]
        command += ["--heartbeat-interval", str(HEARTBEAT.total_seconds()), "--drain-seconds", "2", *flags]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )
        started = process(self._process.pid)
        # Not awaited yet, so at least a zombie.
        assert started is not None
        watch_process(started)

    def address(self) -> str:
        """Where it listens, once it serves."""
        return self._announced(r" serves .*? on (\S+)")

    def metrics_address(self) -> str:
        return self._announced(r" shows metrics at http://(\S+)/metrics")

    def _announced(self, pattern: str) -> str:
        wait_until(self._serves, "the server serves")
        [found] = re.findall(pattern, self.said)
        return str(found)

    def _serves(self) -> bool:
        assert self.runs, self.said
        return any(" serves " in line for line in self.said.splitlines(keepends=True) if line.endswith("\n"))

    @property
    def said(self) -> str:
        """Its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """By SIGKILL. Idempotent."""
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        """As an operator would, drained."""
        self._process.terminate()
        assert self._process.wait(20) == 0, self.said


@contextmanager
def server_processes(url: str, folder: Path, count: int, *flags: str) -> Iterator[list[ServerProcess]]:
    """So many, all on one store; those that still run at the end are killed."""
    processes = [ServerProcess(url, folder / f"server-{number}.log", *flags) for number in range(count)]
    try:
        yield processes
    finally:
        for each in processes:
            each.kill()
