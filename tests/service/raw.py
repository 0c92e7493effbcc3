"""Calls with bytes instead of messages, and statuses taken apart: for what no well-behaved client would send."""

from typing import TypeVar

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import errors_pb2
from tests.conformance.driver import Failure
from tests.conformance.wire import Wire, failure_of, status_of

APPEND = "EventStoreService/Append"
APPEND_IF = "EventStoreService/AppendIf"
QUERY = "EventStoreService/Query"
STREAM_ALL = "EventStoreService/StreamAll"
STREAM_TO = "EventStoreService/StreamTo"
STREAM_ALL_DURABLE = "EventStoreService/StreamAllDurable"
STREAM_TO_DURABLE = "EventStoreService/StreamToDurable"
ACKNOWLEDGE = "EventStoreService/AcknowledgeDurable"
LIST = "DurableStreamService/ListDurableStreams"
GET = "DurableStreamService/GetDurableStream"
RESET = "DurableStreamService/ResetDurableStream"
DELETE = "DurableStreamService/DeleteDurableStream"
AWAIT = "DurableStreamService/AwaitDurableStream"
INFO = "ServerService/GetServerInfo"
SEQUENCE_NUMBER_AT = "ServerService/GetSequenceNumberAt"

ENDLESS = (STREAM_ALL, STREAM_TO, STREAM_ALL_DURABLE, STREAM_TO_DURABLE)
"""Streams that end only with an error."""

M = TypeVar("M", bound=Message)


async def call(
    wire: Wire, method: str, request: bytes | Message, metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> list[bytes]:
    """The response messages, of an endless stream the first. Raises AioRpcError."""
    raw = request if isinstance(request, bytes) else request.SerializeToString()
    if method in ENDLESS:
        stream = streaming(wire.channel, method)(raw, metadata=metadata)
        first = await stream.read()
        stream.cancel()
        assert isinstance(first, bytes)
        return [first]
    if method == QUERY:
        return [response async for response in streaming(wire.channel, method)(raw, metadata=metadata)]
    return [await unary(wire.channel, method)(raw, metadata=metadata)]


def unary(channel: grpc.aio.Channel, method: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    callable_: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/factstr.v1.{method}")
    return callable_


def streaming(channel: grpc.aio.Channel, method: str) -> "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]":
    callable_: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/factstr.v1.{method}")
    return callable_


def both_streaming(
    channel: grpc.aio.Channel, method: str
) -> "grpc.aio.StreamStreamMultiCallable[bytes, bytes]":
    callable_: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/factstr.v1.{method}"
    )
    return callable_


async def failure(
    wire: Wire, method: str, request: bytes | Message, metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> Failure:
    """How the call fails."""
    return failure_of(await error(wire, method, request, metadata))


async def error(
    wire: Wire, method: str, request: bytes | Message, metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(wire, method, request, metadata)
    return caught.value


def details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The details trailer, which every error of ours carries within its bounds."""
    status = status_of(error)
    assert status is not None, f"no ErrorInfo with {error.code()}: {error.details()}"
    assert status.ByteSize() <= 3 * 1024
    assert len(status.message.encode()) <= 512
    assert len(status.details) == len({detail.type_url for detail in status.details})
    return status


def detail(error: grpc.aio.AioRpcError, kind: type[M]) -> M | None:
    """The typed detail of this kind, where there is one."""
    for packed in details(error).details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def names_of_details(error: grpc.aio.AioRpcError) -> list[str]:
    return [packed.TypeName() for packed in details(error).details]


def retry_delay(error: grpc.aio.AioRpcError) -> Duration | None:
    retry = detail(error, error_details_pb2.RetryInfo)
    return None if retry is None else retry.retry_delay


ERROR_INFO = error_details_pb2.ErrorInfo.DESCRIPTOR.full_name
BAD_REQUEST = error_details_pb2.BadRequest.DESCRIPTOR.full_name
RETRY_INFO = error_details_pb2.RetryInfo.DESCRIPTOR.full_name
CONFLICT = errors_pb2.ConditionalAppendConflict.DESCRIPTOR.full_name


async def read(stream: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> bytes:
    """The next message."""
    response = await stream.read()
    assert isinstance(response, bytes)
    return response
