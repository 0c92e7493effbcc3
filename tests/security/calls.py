"""One call of each RPC: a server that lets it in answers soon, with messages or with a refusal of another kind."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from factstr.aio.ended_call import EndedCall
from factstr.v1 import durable_stream_service_pb2, event_pb2, event_store_service_pb2, server_service_pb2
from tests.conformance.driver import Failure
from tests.conformance.wire import failure_of

METHODS: dict[str, MethodDescriptor] = {
    method.full_name: method
    for file in (event_store_service_pb2, durable_stream_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

APPEND = event_store_service_pb2.AppendRequest(events=[event_pb2.NewEvent(event_type="a", payload="1")])
_REQUESTS: dict[str, Message] = {
    "Append": APPEND,
    "AppendStream": event_store_service_pb2.AppendStreamRequest(
        items=[event_store_service_pb2.AppendStreamItem(append=APPEND)]
    ),
}

Headers = tuple[tuple[str, str], ...]


def unary(channel: grpc.aio.Channel, path: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    callable_: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return callable_


def streaming(channel: grpc.aio.Channel, path: str) -> "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]":
    callable_: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
    return callable_


def both_streaming(
    channel: grpc.aio.Channel, path: str
) -> "grpc.aio.StreamStreamMultiCallable[bytes, bytes]":
    callable_: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    return callable_


def path_of(full_name: str) -> str:
    service, _, name = full_name.rpartition(".")
    return f"/{service}/{name}"


async def answer(channel: grpc.aio.Channel, full_name: str, headers: Headers = ()) -> Failure | None:
    """How a call fails; None where it is answered."""
    method = METHODS[full_name]
    request = _REQUESTS.get(method.name, GetMessageClass(method.input_type)()).SerializeToString()
    call = both_streaming(channel, path_of(full_name))(one(request), metadata=headers, timeout=20)
    ended = EndedCall(call)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        failure = await ended.failure(error)
        assert isinstance(failure, grpc.aio.AioRpcError)
        return failure_of(failure)
    finally:
        call.cancel()
    return None


async def one(request: bytes) -> AsyncIterator[bytes]:
    yield request


async def append(channel: grpc.aio.Channel, headers: Headers = (), events: int = 1) -> Failure | None:
    """Of some facts."""
    request = event_store_service_pb2.AppendRequest(events=list(APPEND.events) * events)
    call = unary(channel, path_of("factstr.v1.EventStoreService.Append"))
    try:
        await call(request.SerializeToString(), metadata=headers, timeout=20)
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    return None
