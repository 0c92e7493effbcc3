"""AppendStream at the edge: messages to the items of a pipeline, and its answers to messages.

One task reads, the handler's own writes. The reader says what ended it; the writer goes on until everything before that
is answered.

Invariants:
- Before each item there is room for it. Only large ones are prepared while others are, and no more of them than the
  edge works on at once: so far may what waits go beyond its bounds.
- A message's items are parsed a part at a time (`rpc.message_parts`), and no part is parsed before there is room.
- Nothing large counts at the edge while its pipeline waits for room: a client that does not read would hold up all
  others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Refusal
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.contract.record import text_field, varint
from factstr_server.contract.validation import invalid_argument
from factstr_server.log.append_pipeline import Answer, AppendPipeline, Item
from factstr_server.log.event_log import AppendResult, EventLog
from factstr_server.rpc.edge import OFF_LOOP_BYTES, InTurn
from factstr_server.rpc.message_parts import message_parts
from factstr_server.rpc.preparing import prepared_append, prepared_append_if
from factstr_server.rpc.status import append_failure
from factstr_server.rpc.translation import append_response
from factstr_server.rpc.unknown_fields import parse_leniently, refuse_unknown_fields

_PREPARED_AT_ONCE_BYTES: Final = 32 * 1024
_PREPARED_AT_ONCE_OVERHEAD_BYTES: Final = 256
"""Of items, and what the least of them counts for; then the event loop goes on with others first."""

_FAILURES_AT_ONCE: Final = 64
"""In one message: each takes as long to say as many commits, and others have their turn when a message is sent."""

_UNSET_ITEM: Final = "holds neither append nor append_if; set one of them"


async def append_stream(
    log: EventLog, requests: AsyncIterator[bytes], in_turn: InTurn
) -> AsyncGenerator[bytes, None]:
    """Encoded `AppendStreamResponse` messages to encoded `AppendStreamRequest` messages."""
    with log.pipeline() as pipeline:
        reading = asyncio.create_task(_read(requests, pipeline, in_turn), name="append stream reader")
        try:
            async with aclosing(pipeline.answers()) as answered:
                async for answers in answered:
                    for message in append_stream_responses(answers):
                        yield message
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def _read(requests: AsyncIterator[bytes], pipeline: AppendPipeline, in_turn: InTurn) -> None:
    """Feeds the pipeline until the caller has sent everything, or something that is no request."""
    try:
        await pipeline.room()
        while parts := await _next_parts(requests, in_turn):
            while parts:
                # What is taken is let go of: no name here holds the message, nor a part behind its turn.
                await _put_part(parts.popleft(), pipeline, in_turn)
            await pipeline.room()
    except Exception as error:  # noqa: BLE001  (it ends the call after the answers to everything before it)
        pipeline.end(error)
    else:
        pipeline.end()


async def _next_parts(requests: AsyncIterator[bytes], in_turn: InTurn) -> deque[bytes] | None:
    """The parts of the next message, at least one; None where there is none."""
    raw = await anext(requests, None)
    if raw is None or len(raw) <= OFF_LOOP_BYTES:
        return None if raw is None else message_parts(raw)
    async with in_turn(len(raw)):
        return await asyncio.to_thread(message_parts, raw)


async def _put_part(part: bytes, pipeline: AppendPipeline, in_turn: InTurn) -> None:
    await pipeline.room()
    if len(part) > OFF_LOOP_BYTES:
        async with in_turn(len(part)):
            [only] = await asyncio.to_thread(lambda: list(_prepared_items(part, pipeline.number)))
            pipeline.put(*only)
        return
    at_once = 0
    for correlation_id, item, size in _prepared_items(part, pipeline.number):
        pipeline.put(correlation_id, item, size)
        at_once += size + _PREPARED_AT_ONCE_OVERHEAD_BYTES
        if at_once > _PREPARED_AT_ONCE_BYTES:
            at_once = 0
            await asyncio.sleep(0)
        if pipeline.is_full:
            await pipeline.room()


def _prepared_items(part: bytes, pipeline: int) -> Iterator[tuple[int, Item, int]]:
    """Correlation ids, items and their bytes, each prepared when it is asked for. Raises Refusal for what is none."""
    request, unknown = parse_leniently(pb.AppendStreamRequest, part)
    for item in request.items:
        yield item.correlation_id, _prepared(item, pipeline, unknown=unknown), item.ByteSize()


def _prepared(item: pb.AppendStreamItem, pipeline: int, *, unknown: bool) -> Item:
    try:
        if unknown:
            refuse_unknown_fields(item)
        which = item.WhichOneof("request")
        if which == "append":
            return prepared_append(item.append, pipeline)
        if which == "append_if":
            return prepared_append_if(item.append_if, pipeline)
        raise invalid_argument("request", _UNSET_ITEM)
    except Refusal as refusal:
        # It waits for its turn, and its frames would with all that they hold.
        return refusal.with_traceback(None)


def append_stream_responses(answers: Sequence[Answer]) -> Iterator[bytes]:
    """One encoded message, or several where one would be too long or take too long."""
    gathered: list[bytes] = []
    size = failures = 0
    for answer in answers:
        outcome, failed = _outcome(answer)
        failures += failed
        if gathered and (size + len(outcome) > MAX_RESPONSE_BYTES or failures > _FAILURES_AT_ONCE):
            yield b"".join(gathered)
            gathered, size, failures = [], 0, int(failed)
        gathered.append(outcome)
        size += len(outcome)
    yield b"".join(gathered)


def _outcome(answer: Answer) -> tuple[bytes, bool]:
    """An encoded `AppendStreamOutcome` as a field of its message, and whether it is a failure."""
    correlation_id, outcome = answer
    result = outcome if isinstance(outcome, Refusal) else AppendResult.of(outcome)
    failed = isinstance(result, Refusal)
    if isinstance(result, Refusal):
        said = text_field(b"\x1a", append_failure(result).SerializeToString())
    else:
        said = text_field(b"\x12", append_response(result))
    encoded = b"\x08" + varint(correlation_id) + said if correlation_id else said
    return text_field(b"\x0a", encoded), failed
