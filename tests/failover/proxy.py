"""The network between a server and its PostgreSQL: it understands just enough of the protocol to lose a COMMIT, or the
answer to one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from typing import Final, Self

_PROTOCOL_3: Final = 3 << 16


class Cut(Enum):
    """When a connection is cut that commits an append."""

    BEFORE = auto()
    """PostgreSQL never gets the COMMIT."""
    MEANWHILE = auto()
    """It gets the COMMIT, and the connection is gone while it works on it."""
    AFTER = auto()
    """It has committed, but the answer is lost."""


class Proxy:
    """Listens on a port of its own, and passes on to PostgreSQL's."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cuts = 0
        """So many connections were cut in a COMMIT."""
        self.reachable = True
        """Otherwise new connections are closed at once, and those that are open are left alone."""
        self._upstream = port
        self._next_cut: Cut | None = None
        self._unreachable_then = False
        self._connections: set[_Connection] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Self]:
        proxy = cls(port)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut_all()
            await asyncio.gather(*(connection.ended for connection in proxy._connections))
            await server.wait_closed()

    def cut_next_commit(self, when: Cut, *, and_all_else: bool = False) -> None:
        """The next append that is committed; afterwards, if asked for, the database cannot be reached at all."""
        self._next_cut = when
        self._unreachable_then = and_all_else

    def cut_all(self) -> None:
        for connection in self._connections:
            connection.cut()

    def take_cut(self) -> Cut | None:
        """What is to happen to the append that is being committed; it happens once."""
        cut, self._next_cut = self._next_cut, None
        return cut

    def has_cut(self) -> None:
        self.cuts += 1
        if self._unreachable_then:
            self.reachable = False
            self.cut_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.reachable:
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run(self._upstream)
        finally:
            self._connections.discard(connection)


class _Connection:
    """One connection, in both directions."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = reader, writer
        self._task: asyncio.Future[tuple[None, None]] | None = None
        self._writers = [writer]
        self._texts: dict[bytes, bytes] = {}
        """Of prepared statements, by name; the unnamed one too."""
        self._inserts = False
        """The transaction under way appends."""
        self._cut: Cut | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, port: int) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                from_database, to_database = await asyncio.open_connection("127.0.0.1", port)
                self._writers.append(to_database)
                from_client, to_client = self._client
                await self._greet(from_client, to_database, from_database, to_client)
                self._task = asyncio.gather(
                    self._requests(from_client, to_database), self._answers(from_database, to_client)
                )
                await self._task
        except asyncio.CancelledError:
            pass  # It was cut.
        finally:
            self.cut()
            self.ended.set_result(None)

    def cut(self) -> None:
        """Both ends find the connection gone."""
        for writer in self._writers:
            writer.transport.abort()
        if self._task:
            self._task.cancel()

    async def _greet(
        self,
        from_client: asyncio.StreamReader,
        to_database: asyncio.StreamWriter,
        from_database: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        """First messages have no type. Encryption may be asked for, and is refused."""
        while True:
            length = await from_client.readexactly(4)
            body = await from_client.readexactly(int.from_bytes(length) - 4)
            to_database.write(length + body)
            if int.from_bytes(body[:4]) == _PROTOCOL_3:
                return
            answer = await from_database.readexactly(1)
            assert answer == b"N", answer
            to_client.write(answer)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, message = await _message(reader)
            text = self._executed(kind, message[5:])
            self._inserts |= b"INSERT INTO" in text and b".records (" in text
            if text in (b"COMMIT", b"ROLLBACK"):
                if text == b"COMMIT" and self._inserts:
                    self._cut = self._proxy.take_cut()
                self._inserts = False
            if self._cut is Cut.BEFORE:
                self._lose()
                return
            writer.write(message)
            if self._cut is Cut.MEANWHILE and kind == b"S":
                await writer.drain()
                # So that PostgreSQL finds the COMMIT before it finds the end.
                writer.write_eof()
                self._lose(of_client=True)
                return

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, message = await _message(reader)
            if self._cut:
                if self._cut is Cut.AFTER and kind == b"C" and message[5:] == b"COMMIT\0":
                    self._lose()
                    return
            else:
                writer.write(message)

    def _executed(self, kind: bytes, body: bytes) -> bytes:
        """The text of the statement that a message has executed, or nothing."""
        if kind == b"Q":
            return body.rstrip(b"\0")
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._texts[name] = text
        elif kind == b"B":
            return self._texts[body.split(b"\0")[1]]
        return b""

    def _lose(self, *, of_client: bool = False) -> None:
        if of_client:
            self._writers[0].transport.abort()
        else:
            self.cut()
        self._proxy.has_cut()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next message: its type, and all of it."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)
