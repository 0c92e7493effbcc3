"""A client's connection that hands bytes through: what is measured is the server, and messages are parsed by checks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import grpc

from benchmarks.empty_rpc import SERVICE as EMPTY
from factstr.v1 import event_store_service_pb2 as pb
from factstr.v1 import server_service_pb2

_STORE: Final = pb.DESCRIPTOR.services_by_name["EventStoreService"].full_name
STREAM_ALL: Final = f"/{_STORE}/StreamAll"
STREAM_TO: Final = f"/{_STORE}/StreamTo"
RECORDED: Final = f"/{EMPTY}/Recorded"
FOLLOW: Final = f"/{EMPTY}/Follow"
_SERVER: Final = server_service_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name

_Unary: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
_Pipelined: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"
_Streaming: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]"


class Connection:
    """Calls of one server, FACTSTR's or the empty one, over one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.append: _Unary = channel.unary_unary(f"/{_STORE}/Append")
        self.append_if: _Unary = channel.unary_unary(f"/{_STORE}/AppendIf")
        self.append_stream: _Pipelined = channel.stream_stream(f"/{_STORE}/AppendStream")
        self.stream_all: _Streaming = channel.unary_stream(STREAM_ALL)
        self.stream_to: _Streaming = channel.unary_stream(STREAM_TO)
        self.query: _Streaming = channel.unary_stream(f"/{_STORE}/Query")
        self.publish: _Unary = channel.unary_unary(f"/{EMPTY}/Publish")
        self.empty_unary: _Unary = channel.unary_unary(f"/{EMPTY}/Unary")
        self.empty_streaming: _Streaming = channel.unary_stream(f"/{EMPTY}/Streaming")
        self._server_info: _Unary = channel.unary_unary(f"/{_SERVER}/GetServerInfo")

    async def head(self) -> int:
        raw = await self._server_info(b"")
        return server_service_pb2.GetServerInfoResponse.FromString(raw).head_sequence_number


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield Connection(channel)
