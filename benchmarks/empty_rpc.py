"""The limit that FACTSTR is measured against: a server of the same kind whose handlers do nothing.

Run as a process of its own (`python -m benchmarks.empty_rpc`): the same event loop and the same gRPC options as
FACTSTR's, bytes handed through, one unary call and one server-streaming call that sends one empty message.
"""

import asyncio
import signal
import sys
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


async def _serve() -> None:
    server = grpc.aio.server(options=GRPC_OPTIONS)
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Streaming": grpc.unary_stream_rpc_method_handler(_streaming),
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
