"""AppendStream at the edge: messages to the items of a pipeline, and its answers to messages.

One task reads, the handler's own writes. The reader stops reading while there is no room, and says what ended it; the
writer goes on until everything before that is answered.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Refusal
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.contract.record import text_field, varint
from factstr_server.contract.validation import invalid_argument
from factstr_server.log.append_pipeline import Answer, AppendPipeline
from factstr_server.log.event_log import AppendResult, EventLog
from factstr_server.rpc.edge import off_loop_if_large
from factstr_server.rpc.preparing import prepared_append, prepared_append_if
from factstr_server.rpc.status import append_failure
from factstr_server.rpc.translation import append_response
from factstr_server.rpc.unknown_fields import parse_leniently, refuse_unknown_fields

_PREPARED_AT_ONCE_BYTES: Final = 16 * 1024
"""Of items; then the event loop goes on with others first."""

_UNSET_ITEM: Final = "holds neither append nor append_if; set one of them"


async def append_stream(log: EventLog, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Encoded `AppendStreamResponse` messages to encoded `AppendStreamRequest` messages."""
    with log.pipeline() as pipeline:
        reading = asyncio.create_task(_read(requests, pipeline), name="append stream reader")
        try:
            async with aclosing(pipeline.answers()) as answered:
                async for answers in answered:
                    for message in append_stream_responses(answers):
                        yield message
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def _read(requests: AsyncIterator[bytes], pipeline: AppendPipeline) -> None:
    """Feeds the pipeline until the caller has sent everything, or something that is no request."""
    try:
        while True:
            await pipeline.room()
            raw = await anext(requests, None)
            if raw is None:
                break
            await _put_items(raw, pipeline)
    except Exception as error:  # noqa: BLE001  (it ends the call after the answers to everything before it)
        pipeline.end(error)
    else:
        pipeline.end()


async def _put_items(raw: bytes, pipeline: AppendPipeline) -> None:
    request, unknown = await off_loop_if_large(len(raw), parse_leniently, pb.AppendStreamRequest, raw)
    if unknown and len(UnknownFieldSet(request)):
        refuse_unknown_fields(request)
    size = 0
    for item in request.items:
        item_size = item.ByteSize()
        size += item_size
        if size > _PREPARED_AT_ONCE_BYTES:
            size = 0
            await asyncio.sleep(0)
        try:
            if unknown:
                refuse_unknown_fields(item)
            which = item.WhichOneof("request")
            if which == "append":
                prepared = await off_loop_if_large(item_size, prepared_append, item.append, pipeline.number)
            elif which == "append_if":
                prepared = await off_loop_if_large(
                    item_size, prepared_append_if, item.append_if, pipeline.number
                )
            else:
                raise invalid_argument("request", _UNSET_ITEM)
        except Refusal as refusal:
            pipeline.put(item.correlation_id, refusal)
        else:
            pipeline.put(item.correlation_id, prepared)


def append_stream_responses(answers: Sequence[Answer]) -> Iterator[bytes]:
    """One encoded message, or several where one would be too long."""
    gathered: list[bytes] = []
    size = 0
    for answer in answers:
        outcome = text_field(b"\x0a", _outcome(answer))
        if gathered and size + len(outcome) > MAX_RESPONSE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(outcome)
        size += len(outcome)
    yield b"".join(gathered)


def _outcome(answer: Answer) -> bytes:
    """An encoded `AppendStreamOutcome`."""
    correlation_id, outcome = answer
    result = outcome if isinstance(outcome, Refusal) else AppendResult.of(outcome)
    if isinstance(result, Refusal):
        said = text_field(b"\x1a", append_failure(result).SerializeToString())
    else:
        said = text_field(b"\x12", append_response(result))
    return b"\x08" + varint(correlation_id) + said if correlation_id else said
