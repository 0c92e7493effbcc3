"""Streams over the wire: messages as a test's items, and calls as a test's streams."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict

import grpc

from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2
from tests.conformance.facts import Filter, Query
from tests.conformance.failure import Failure
from tests.conformance.service_values import batches_of
from tests.conformance.streams import (
    AtHead,
    CaughtUp,
    Checkpoint,
    DurableStream,
    Item,
    Start,
    Started,
    Stream,
    Waiting,
)

Response: TypeAlias = event_store_service_pb2.StreamResponse | event_store_service_pb2.DurableStreamResponse


class StartFields(TypedDict, total=False):
    """The oneof `start`."""

    start_after_sequence_number: int
    start_at_head: bool


def start_of(start: Start) -> StartFields:
    if start is None:
        return {}
    return {"start_at_head": True} if isinstance(start, AtHead) else {"start_after_sequence_number": start}


def stream_of(
    call: "grpc.aio.UnaryStreamCall[Any, Any]", failure_of: Callable[[grpc.aio.AioRpcError], Failure]
) -> Stream:
    """A call as a stream. It ends with a status that says why, or the test fails."""

    async def read() -> list[Item]:
        try:
            response: Any = await call.read()
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None
        assert response is not grpc.aio.EOF, "the stream ended without a reason"
        return items_of(response)

    async def close() -> None:
        call.cancel()

    return Stream(read, close)


def items_of(response: Response) -> list[Item]:
    match response.WhichOneof("content"):
        case "batches":
            return list(batches_of(response.batches))
        case "caught_up":
            return [CaughtUp(response.caught_up.head_sequence_number)]
        case "checkpoint":
            return [Checkpoint(response.checkpoint.sequence_number)]
    if isinstance(response, event_store_service_pb2.StreamResponse):
        assert response.HasField("started"), response
        return [Started(response.started.after_sequence_number)]
    if response.HasField("waiting"):
        return [Waiting(response.waiting.lease_epoch, response.waiting.holder)]
    assert response.HasField("started"), response
    return [Started(response.started.cursor, response.started.lease_epoch)]


def durable_stream_of(message: durable_stream_service_pb2.DurableStream) -> DurableStream:
    return DurableStream(
        message.durable_stream,
        Query(
            tuple(
                Filter(
                    tuple(f.event_types.any_of) if f.HasField("event_types") else None,
                    tuple(f.payload_predicates.any_of) if f.HasField("payload_predicates") else None,
                )
                for f in message.query.filters
            )
        ),
        message.cursor,
        message.head_sequence_number,
        message.lag_events,
        message.lag.ToMicroseconds(),
        message.active,
        message.holder,
        message.waiting_consumers,
        message.lease_epoch,
        message.created_at.ToMicroseconds(),
        message.acknowledged_at.ToMicroseconds() if message.HasField("acknowledged_at") else None,
    )
