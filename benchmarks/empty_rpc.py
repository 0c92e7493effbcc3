"""The limit that FACTSTR is measured against: a server of the same kind whose handlers do nothing.

Run as a process of its own (`python -m benchmarks.empty_rpc`): the same event loop and the same gRPC options as
FACTSTR's, and bytes handed through. A unary call; a server-streaming call that sends one empty message; one that sends
the messages of a file, ready as they are; and a unary call whose bytes go to all who follow.
"""

import asyncio
import signal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

import grpc
import uvloop

from factstr_server.server import GRPC_OPTIONS

SERVICE: Final = "benchmarks.Empty"

_Context = grpc.aio.ServicerContext[bytes, bytes]


async def _unary(_: bytes, __: _Context) -> bytes:
    return b""


async def _streaming(_: bytes, context: _Context) -> None:
    await context.write(b"")


async def _recorded(path: bytes, context: _Context) -> None:
    for message in _messages(path):
        await context.write(message)


@lru_cache(maxsize=4)
def _messages(path: bytes) -> list[bytes]:
    """Each with its length in a line before it."""
    messages = []
    with Path(path.decode()).open("rb") as file:
        while length := file.readline():
            messages.append(file.read(int(length)))
    return messages


class _Audience:
    """All who follow; messages that come while one of them is being written wait for it in a list."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Queue[bytes], None] = {}

    async def follow(self, _: bytes, context: _Context) -> None:
        messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting[messages] = None
        try:
            await context.write(b"\0")
            while True:
                await context.write(await messages.get())
        finally:
            del self._waiting[messages]

    async def publish(self, message: bytes, _: _Context) -> bytes:
        for messages in self._waiting:
            messages.put_nowait(message)
        return b""


async def _serve() -> None:
    audience = _Audience()
    server = grpc.aio.server(options=GRPC_OPTIONS)
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Streaming": grpc.unary_stream_rpc_method_handler(_streaming),
        "Recorded": grpc.unary_stream_rpc_method_handler(_recorded),
        "Follow": grpc.unary_stream_rpc_method_handler(audience.follow),
        "Publish": grpc.unary_unary_rpc_method_handler(audience.publish),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(f"the empty server listens on 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await stopping.wait()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(_serve())
