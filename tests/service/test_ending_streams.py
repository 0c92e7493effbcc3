"""How streams end: a server that stops, and readers that are stuck, leave, or vanish."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.rpc import edge
from tests.conformance.driver import Driver, NewFact, Options, of_type, refused
from tests.conformance.streams import CaughtUp, Started, Stream, Waiting, eventually
from tests.conformance.wire import Wire
from tests.service import raw
from tests.service.conftest import serving
from tests.service.wrapping_store import StallingStore
from tests.waiting import until

STREAM_ALL = raw.STREAM_ALL
STREAM_ALL_DURABLE = raw.STREAM_ALL_DURABLE


@pytest.fixture
async def draining() -> AsyncIterator[tuple[Wire, StallingStore]]:
    """A server whose appends stall, and that is therefore draining for as long as a test likes."""
    async with serving(StallingStore) as (server, store):
        yield server, store


async def test_a_stopping_server_ends_streams_with_its_reason_and_serves_acknowledgements_meanwhile(
    draining: tuple[Wire, StallingStore],
) -> None:
    server, _ = draining
    await server.append_types("a")
    await server.append_types("a")
    async with (
        server.stream_all(0) as live,
        server.stream_to(of_type("none")) as silent,
        server.stream_all_durable("s") as durable,
        server.stream_all_durable("s", wait=True) as waiting,
        server.stream_all_durable("t", window=1) as full,
    ):
        await live.next_of(CaughtUp)
        await silent.next_of(CaughtUp)
        assert isinstance(await asyncio.shield(durable.next()), Started)
        batches = await durable.batches(2)
        await full.batches(1)
        assert isinstance(await waiting.next(), Waiting)
        awaited = asyncio.create_task(server.await_cursor("s", 99, seconds=None))
        await server.durable("s")
        stop = asyncio.create_task(server.server.stop())
        await until(lambda: server.server._edge.draining, "the server drains")
        assert await server.acknowledge("s", batches[0].token) == 1
        assert (await server.durable("s")).cursor == 1
        assert await server.acknowledge("s", batches[1].token) == 2
        # Long before the next heartbeat, whatever they were waiting for.
        async with asyncio.timeout(5):
            for stream in (live, silent, durable, waiting, full):
                failure = await stream.ended()
                assert (failure.reason, failure.code) == ("SERVER_DRAINING", "UNAVAILABLE")
        with refused("SERVER_DRAINING"):
            await awaited
        await stop


async def test_a_stopping_server_finishes_appends_under_way_and_turns_new_streams_away(
    draining: tuple[Wire, StallingStore],
) -> None:
    server, store = draining
    store.gate.clear()
    append = asyncio.create_task(server.append_types("a"))
    await store.waiting.wait()
    stop = asyncio.create_task(server.server.stop())
    await until(lambda: server.server._edge.draining, "the server drains")
    for stream in (server.stream_all(), server.stream_all_durable("s")):
        async with stream:
            with refused("SERVER_DRAINING"):
                await stream.next()
    store.gate.set()
    assert (await append).first == 1
    await stop


async def stuck(server: Wire, request: bytes, method: str) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """A stream of which nobody reads more than the first message, until nothing more goes out."""
    call = raw.streaming(server.channel, method)(request)
    await raw.read(call)
    return call


LARGE = [NewFact("a", '"' + "x" * 1_000_000 + '"')]


@pytest.mark.parametrize(("drain", "stuck_seconds"), [(1, 60), (60, 0.5)])
async def test_a_stopping_server_stops_within_its_bound_and_does_not_wait_for_readers_that_are_stuck(
    tmp_path: object, drain: int, stuck_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_STUCK_SECONDS", stuck_seconds)
    options = Options(drain=timedelta(seconds=drain))
    async with Wire(f"sqlite:///{tmp_path}/facts.db", options) as server:
        for _ in range(12):
            await server.append(LARGE)
        calls = [
            await stuck(server, pb.StreamAllRequest(after_sequence_number=0).SerializeToString(), STREAM_ALL),
            await stuck(
                server, pb.StreamAllDurableRequest(durable_stream="s").SerializeToString(), STREAM_ALL_DURABLE
            ),
        ]
        begin = time.monotonic()
        await server.server.stop()
        assert time.monotonic() - begin < 10, "a second or two, and a second for the last answers"
        for call in calls:
            call.cancel()


async def test_readers_that_leave_while_they_are_stuck_leave_nothing_behind(served_store: Wire) -> None:
    for _ in range(12):
        await served_store.append(LARGE)
    log = served_store.server.log
    for _ in range(5):
        live = await stuck(
            served_store, pb.StreamAllRequest(after_sequence_number=0).SerializeToString(), STREAM_ALL
        )
        durable = await stuck(
            served_store,
            pb.StreamAllDurableRequest(durable_stream="s", wait_for_lease=True).SerializeToString(),
            STREAM_ALL_DURABLE,
        )
        live.cancel()
        durable.cancel()

    async def left() -> int:
        return len(log.live._subscriptions) + len(log.durable._consumers) + len(log._dispatcher._everything)

    assert await eventually(left, lambda count: count == 0) == 0
    assert not (await eventually(lambda: served_store.durable("s"), lambda it: not it.active)).active
    assert served_store.server._edge._under_way == 0


async def follow_through(stream: Stream, driver: Driver) -> None:
    [batch] = await stream.batches(1)
    await driver.acknowledge("s", batch.token)


class SilentProxy:
    """Passes bytes on between a client and a server, until it falls silent: nothing goes through, nothing is closed."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._silent = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, to_server[1]]
        for source, target in ((reader, to_server[1]), (to_server[0], writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if self._silent.is_set():
                await asyncio.Event().wait()
            target.write(data)

    def fall_silent(self) -> None:
        self._silent.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()


async def test_a_consumer_whose_connection_dies_without_a_goodbye_loses_its_lease_within_20_s(
    server: Wire,
) -> None:
    """Nothing closes the connection: the server itself has to find out. Heartbeats are no help to it."""
    await server.append_types("a")
    proxy = SilentProxy(server.server.addresses[0])
    async with grpc.aio.insecure_channel(await proxy.listen()) as channel:
        call = raw.streaming(channel, STREAM_ALL_DURABLE)(
            pb.StreamAllDurableRequest(durable_stream="s").SerializeToString()
        )
        started = pb.DurableStreamResponse.FromString(await raw.read(call)).started
        proxy.fall_silent()
        begin = time.monotonic()
        async with server.stream_all_durable("s", wait=True) as next_consumer:
            assert isinstance(await next_consumer.next(), Waiting)
            while not isinstance(item := await next_consumer.next_within(25), Started):
                assert isinstance(item, Waiting)
            print(f"free after {time.monotonic() - begin:.1f} s")
            assert time.monotonic() - begin < 20
            assert item.lease_epoch > started.lease_epoch
            await follow_through(next_consumer, server)
        await proxy.close()
        call.cancel()
