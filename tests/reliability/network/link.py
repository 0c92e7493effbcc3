"""A link between a client and an address: TCP connections are passed on through it as bytes, until it fails.

Each connection has its own conditions in each direction, so that those that are open can be dead while new ones pass,
as after a lost entry in a firewall's table. What is blocked stays where it is, the end of a connection too: both ends
believe that they are connected, until one of them notices by itself.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, Self

_PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Way:
    """What bytes meet in one direction."""

    latency: float = 0.0
    jitter: float = 0.0
    """At most so many seconds more."""
    piece: int = _PIECE_BYTES
    """So many bytes go at a time."""
    blocked: bool = False
    """Nothing goes. What was sent arrives when it is unblocked."""


FREE: Final = Way()
BLOCKED: Final = Way(blocked=True)


class Ways(NamedTuple):
    """The conditions of a connection: towards the address, and back."""

    up: Way = FREE
    down: Way = FREE


DEAD: Final = Ways(BLOCKED, BLOCKED)


class Link:
    """Listens on a port of its own, and passes on to an address."""

    def __init__(self, host: str, port: int, chance: Random) -> None:
        self.swallows = False
        """New connections are accepted, and get no further."""
        self._target = host, port
        # Its own: how often it draws is the machine's matter.
        self._chance = Random(chance.random())
        self._ways = Ways()
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        # Keeps the port while nobody listens there: Linux lets somebody listen beside it.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = self._reserved.getsockname()[1]

    @classmethod
    @asynccontextmanager
    async def to(cls, address: str, chance: Random) -> AsyncIterator[Self]:
        host, _, port = address.rpartition(":")
        link = cls(host, int(port), chance)
        try:
            await link.listen()
            yield link
        finally:
            link.refuse()
            link.cut()
            await asyncio.gather(*link._connections.values())
            link._reserved.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> "list[Connection]":
        """Those that are open, as far as this link knows."""
        return list(self._connections)

    async def listen(self) -> None:
        """Idempotent."""
        self._server = self._server or await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """New connections; those that are open are left alone."""
        if self._server:
            self._server.close()
            self._server = None

    def meets(self, ways: Ways, *, new: bool = True) -> None:
        """From now on connections meet this: those that are open, and those to come, if they shall."""
        if new:
            self._ways = ways
        self._each(lambda connection: connection.meets(ways))

    def cut(self) -> None:
        """Both ends of all connections are reset, and what was under way is lost."""
        self._each(lambda connection: connection.cut())

    def cut_from_client(self) -> None:
        """Clients' ends are reset; the other ends are left as they are, and never hear of it."""
        self._each(lambda connection: connection.cut_one(0))

    def cut_from_server(self) -> None:
        """The other way round."""
        self._each(lambda connection: connection.cut_one(1))

    def end(self) -> None:
        """Both ends find the other's end, after all that was passed on."""
        self._each(lambda connection: connection.end())

    async def mend(self, *, thaw: bool = True) -> None:
        """It works again. What was blocked arrives now, unless it is to be lost."""
        if not thaw:
            self._each(lambda connection: connection.cut() if connection.blocked else None)
        self.swallows = False
        self.meets(Ways())
        await self.listen()

    def _each(self, what: "Callable[[Connection], None]") -> None:
        for connection in self.connections:
            what(connection)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._ways, self._chance)
        task = asyncio.current_task()
        assert task
        self._connections[connection] = task
        try:
            await connection.run(None if self.swallows else self._target)
        finally:
            del self._connections[connection]


class Connection:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ways: Ways, chance: Random
    ) -> None:
        self._ends = [(reader, writer)]
        self._ways = ways
        self._chance = chance
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def blocked(self) -> bool:
        return any(way.blocked for way in self._ways)

    def meets(self, ways: Ways) -> None:
        self._ways = ways
        # Whoever waits looks again.
        self._changed.set()
        self._changed.clear()

    def cut(self) -> None:
        for _, writer in self._ends:
            _reset(writer)
        self._stop()

    def cut_one(self, place: int) -> None:
        """The client's end (0) or the other; nothing goes any more."""
        self.meets(DEAD)
        if place < len(self._ends):
            _reset(self._ends[place][1])

    def end(self) -> None:
        for _, writer in self._ends:
            writer.close()
        self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running.cancel()

    async def run(self, target: tuple[str, int] | None) -> None:
        """Until both ends have ended; without a target until it is cut."""
        self._running = asyncio.ensure_future(self._swallow() if target is None else self._pass_on(target))
        try:
            # Cancelled when it is cut.
            with suppress(OSError, asyncio.CancelledError):
                await self._running
        finally:
            for _, writer in self._ends:
                # What is left is reset: an end that was lost is no orderly one.
                _reset(writer)

    async def _swallow(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def _pass_on(self, target: tuple[str, int]) -> None:
        self._ends.append(await asyncio.open_connection(*target))
        (from_client, to_client), (from_server, to_server) = self._ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(0, from_client, to_server))
                group.create_task(self._pass(1, from_server, to_client))
        except* OSError:
            # An end was lost, and so will be the other.
            self.cut()
        for _, writer in self._ends:
            writer.close()

    async def _pass(self, place: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            # Before reading too, so that what comes while it is blocked stays with its sender, as far as it can.
            await self._unblocked(place)
            data = await reader.read(self._ways[place].piece)
            way = self._ways[place]
            if way.latency or way.jitter:
                await asyncio.sleep(way.latency + way.jitter * self._chance.random())
            await self._unblocked(place)
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def _unblocked(self, place: int) -> None:
        while self._ways[place].blocked:
            await self._changed.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Its other end finds the connection reset, not ended. Idempotent."""
    found = writer.get_extra_info("socket")
    if found and not writer.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
