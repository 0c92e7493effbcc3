"""Calls of what cannot be a method: the server goes on."""

import asyncio

import pytest

from tests.conformance.driver import NewFact, Options
from tests.conformance.wire import Wire
from tests.fuzzing import http2


@pytest.mark.parametrize("path", [b"/\xff", b"/factstr.v1.EventStoreService/Qu\xefry", b"/", b"x" * 9_000])
async def test_a_path_that_no_method_has_leaves_the_server_serving(path: bytes) -> None:
    """In gRPC 1.84 and 1.85 a path that is no UTF-8 ends the serving: its accept loop decodes it."""
    async with Wire("memory:", Options()) as server:
        host, _, port = server.server.addresses[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(http2.PREFACE + http2.frame(4, 0, 0) + http2.call(path, http2.message(b"")))
        # A ping's answer comes after the call was taken in.
        writer.write(http2.frame(6, 0, 0, b"afterwards"[:8]))
        async with asyncio.timeout(10):
            while b"afterwar" not in await reader.read(4_096):
                pass
        assert (await server.append([NewFact()])).first == 1
        writer.close()
        await writer.wait_closed()
