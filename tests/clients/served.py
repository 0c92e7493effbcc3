"""The servers that cases run against: the real one, in this process, or where a case ends it in one of its own."""

import asyncio
import signal
import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from factstr_server.access.roles import Role
from factstr_server.server import running
from factstr_server.settings import Settings
from tests.operations.process import ServerProcess
from tests.security.conftest import Tls, Tokens


class Served(Protocol):
    """A server on one store. `target` stays the same through all its starts."""

    target: str
    variables: dict[str, Any]
    """What a case may name as $NAME: where things are."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class InProcess:
    """Served from this event loop, as a case's `serve` says: tls (server or mutual), tokens, unix, heartbeat_ms."""

    def __init__(self, folder: Path, url: str, serve: dict[str, Any]) -> None:
        self._url = url
        self._serve = serve
        self._folder = folder
        self._open = AsyncExitStack()
        self.target = ""
        self.variables: dict[str, Any] = {}

    async def start(self) -> None:
        settings: dict[str, Any] = {"listen": (self._listen(),)}
        if "tls" in self._serve:
            settings |= self._tls(self._serve["tls"])
        if "tokens" in self._serve:
            settings["tokens_file"] = self._tokens(self._serve["tokens"])
        if "heartbeat_ms" in self._serve:
            settings["heartbeat_interval"] = timedelta(milliseconds=self._serve["heartbeat_ms"])
        server = await self._open.enter_async_context(running(Settings(store=self._url, **settings)))
        self.target = server.addresses[0].replace("127.0.0.1", "localhost")
        self.variables["port"] = self.target.rpartition(":")[2]

    async def stop(self) -> None:
        await self._open.aclose()

    def _listen(self) -> str:
        return f"unix:{self._folder}/factstr.sock" if self._serve.get("unix") else "127.0.0.1:0"

    def _tls(self, kind: str) -> dict[str, str]:
        tls = Tls(self._folder)
        tls.issue("localhost", "facts.example")
        client = tls.authority.issue_cert("desk@example.com")
        cert, key = self._folder / "client.crt", self._folder / "client.key"
        cert.write_bytes(client.cert_chain_pems[0].bytes())
        key.write_bytes(client.private_key_pem.bytes())
        self.variables |= {"ca": str(tls.ca), "client_cert": str(cert), "client_key": str(key)}
        asked = {"tls_client_ca": str(tls.ca)} if kind == "mutual" else {}
        return {"tls_cert": str(tls.cert), "tls_key": str(tls.key), **asked}

    def _tokens(self, roles: list[str]) -> str:
        tokens = Tokens(self._folder / "tokens")
        for role in roles:
            self.variables[f"{role}_token"] = tokens.add(role, Role(role))
        return str(tokens.path)


class AsProcess:
    """A process of its own on a TCP port that it keeps, which can be stopped, killed, and started again."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.target = f"127.0.0.1:{port}"
        self.variables: dict[str, Any] = {}
        self._flags = ("--store", url, "--listen", self.target, "--drain-seconds", "2")
        self._starts = 0
        self._process: ServerProcess | None = None

    async def start(self) -> None:
        self._starts += 1
        self._process = ServerProcess(self._folder / f"log-{self._starts}", *self._flags)
        await asyncio.to_thread(self._process.ready)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        if self._process:
            with self._process as process:
                process.signal(how)
                await asyncio.to_thread(process.ended)
            self._process = None
