"""Calls on connections of their own that are cut off: closed without a word to the server, or to gRPC here, which would
keep them until its garbage is collected.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.message import Message

from tests.fuzzing import http2
from tests.sharing.servers import Remote

_SETTINGS = 4


@asynccontextmanager
async def called(store: Remote, method: str, request: Message) -> AsyncIterator[bytes]:
    """The first that the server sends. At the end of the block the connection is cut."""
    host, _, port = store.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(http2.PREFACE + http2.frame(_SETTINGS, 0, 0))
        path = f"/factstr.v1.{method}".encode()
        writer.write(http2.call(path, http2.message(request.SerializeToString())))
        yield await reader.read(65_536)
    finally:
        writer.transport.abort()
