"""What one connection may do to the server: how soon it is hung up on, and what it costs while it stands."""

import asyncio
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conformance.streams import Started, Waiting
from tests.fuzzing import http2
from tests.postgres.guard import watch_process
from tests.postgres.processes import process
from tests.sharing.servers import Remote, ServerProcess, server_processes

ENHANCE_YOUR_CALM = 0xB
GOAWAY = 7

CONSUMER = """
import sys
import grpc
from factstr.v1 import event_store_service_pb2 as pb
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
stub = EventStoreServiceStub(grpc.insecure_channel(sys.argv[1]))
for response in stub.StreamAllDurable(pb.StreamAllDurableRequest(durable_stream="frozen")):
    print(response.WhichOneof("content"), flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_processes("memory:", tmp_path_factory.mktemp("flooded"), 1) as [process]:
        yield process


async def everything_of(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """All that comes until the server hangs up."""
    received = b""
    async with asyncio.timeout(seconds):
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                received += part
    return received


async def connection(server: ServerProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.address().rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_flood_of_pings_is_told_to_go_away(server: ServerProcess) -> None:
    reader, writer = await connection(server)
    writer.write(http2.PREFACE + http2.frame(4, 0, 0) + http2.frame(6, 0, 0, b"ping1234") * 1_000)
    goodbyes = [frame for frame in http2.frames(await everything_of(reader, 10)) if frame.kind == GOAWAY]
    writer.close()
    [code] = {struct.unpack(">I", goodbye.payload[4:8])[0] for goodbye in goodbyes}
    assert code == ENHANCE_YOUR_CALM
    assert b"too_many_pings" in goodbyes[-1].payload


@pytest.mark.timeout(90)
async def test_connections_that_never_say_what_they_are_are_closed_within_the_time_for_it(
    server: ServerProcess,
) -> None:
    """20 s, whatever part of its preface a client has sent."""

    async def closed(sent: bytes) -> None:
        reader, writer = await connection(server)
        writer.write(sent)
        await everything_of(reader, 20 + 2)
        writer.close()

    await asyncio.gather(*(closed(sent) for sent in (b"", http2.PREFACE[:5], http2.PREFACE)))


@pytest.mark.timeout(90)
async def test_a_consumer_that_is_frozen_loses_its_lease_within_20_seconds(
    server: ServerProcess,
) -> None:
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONSUMER, server.address(), stdout=subprocess.PIPE
    )
    assert consumer.stdout is not None
    started = process(consumer.pid)
    assert started is not None
    watch_process(started)
    try:
        assert await consumer.stdout.readline() == b"started\n"
        async with (
            Remote(server.address()) as remote,
            remote.stream_all_durable("frozen", wait=True) as next_one,
        ):
            assert isinstance(await next_one.next(), Waiting)
            consumer.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(20):
                await next_one.next_of(Started)
    finally:
        consumer.kill()
        await consumer.communicate()
