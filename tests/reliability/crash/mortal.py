"""A server that is killed and started again on the same port, and the clients' way to it."""

import asyncio
import signal
import socket
from pathlib import Path

from tests.operations.process import ServerProcess
from tests.sharing.servers import HEARTBEAT, Remote


class Returning(Remote):
    """To an address at which a server comes and goes: tried again at once, and not after a growing while."""

    channel_options = (
        *Remote.channel_options,
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 100),
    )


class MortalServer:
    """One address on one store. At most one process at a time."""

    def __init__(self, folder: Path, url: str, *flags: str, name: str = "server") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        self._name = name
        self._flags = ("--store", url, "--listen", self.address, *flags)
        self._flags += ("--heartbeat-interval", str(HEARTBEAT.total_seconds()), "--drain-seconds", "2")
        self._starts = 0
        self._process: ServerProcess | None = None

    async def start(self, **environment: str) -> None:
        """Returns when it serves."""
        await asyncio.to_thread(self._begin(**environment).ready)

    async def start_in_vain(self, seconds: float) -> None:
        """It is killed so long after its beginning, mostly before it serves."""
        self._begin()
        await asyncio.sleep(seconds)
        self.kill()

    def _begin(self, **environment: str) -> ServerProcess:
        assert self._process is None
        self._starts += 1
        self._process = ServerProcess(
            self._folder / f"{self._name}-{self._starts}.log", *self._flags, **environment
        )
        return self._process

    def kill(self) -> None:
        """By SIGKILL, at once. Idempotent."""
        if self._process:
            self._process.kill()
            self._process = None

    async def stop(self) -> None:
        """As an operator would; its callers go on meanwhile."""
        assert self._process
        with self._process as process:
            process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.ended) == 0, process.said
        self._process = None
