"""A server and the empty one beside it, connected: where most scenarios take place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from benchmarks.comparison import Measure, Variant
from benchmarks.connection import Connection, connected
from benchmarks.load import Call, many_at_once, messages, one_by_one
from benchmarks.processes import ServerProcess, empty_server, factstr_server
from benchmarks.results import Setting


class Bench(NamedTuple):
    """FACTSTR on an empty log, and the empty server."""

    server: ServerProcess
    connection: Connection
    empty: ServerProcess
    empty_connection: Connection

    def load(self, callers: int, seconds: float, call: Call) -> Measure:
        """Measures calls of FACTSTR."""
        return lambda: many_at_once(self.server, callers, seconds, call)

    def limit(self, callers: int, seconds: float) -> Variant:
        """The empty unary call under the same load."""

        async def call(_: int) -> None:
            await self.empty_connection.empty_unary(b"")

        return Variant(
            "empty unary call",
            lambda: many_at_once(self.empty, callers, seconds, call),
            {"callers": callers},
        )

    def streaming_limit(self, count: int) -> Variant:
        """The empty server-streaming call, one after the other."""

        async def call(_: int) -> None:
            await messages(self.empty_connection.empty_streaming(b""))

        return Variant("empty streaming call", lambda: one_by_one(self.empty, count, call))


@asynccontextmanager
async def bench(setting: Setting, name: str) -> AsyncIterator[Bench]:
    database = setting.folder / f"{name}.db"
    async with (
        factstr_server(database) as server,
        empty_server(setting.folder) as empty,
        connected(server.address) as connection,
        connected(empty.address) as empty_connection,
    ):
        yield Bench(server, connection, empty, empty_connection)
    for file in setting.folder.glob(f"{database.name}*"):
        file.unlink()
