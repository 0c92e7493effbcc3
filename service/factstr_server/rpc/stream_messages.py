"""What streams say, as encoded messages."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.contract.query import query_from_text
from factstr_server.contract.record import varint
from factstr_server.log.durable_streams import ConsumptionItem, ConsumptionStarted, Waiting
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import Started, StreamItem
from factstr_server.log.stream_positions import StreamState
from factstr_server.log.subscription import Batches, CaughtUp, Idle
from factstr_server.rpc.translation import duration, event_query_message, timestamp

_BATCHES: Final = b"\x12"
"""The field `batches` of both kinds of responses."""

_MESSAGE_BYTES: Final = 8
"""What a message holds beside its frames."""


class StreamMessages:
    """Of one log and its settings."""

    def __init__(self, log: EventLog, heartbeat_interval: timedelta) -> None:
        self._log = log
        self._heartbeat_interval = duration(heartbeat_interval)
        self._last: tuple[list[bytes], bytes] = ([], b"")
        """The frames of the last message of batches, and the message: many streams say the same, one after the other,
        and those that are stuck would each hold a copy.
        """

    def stream_response(self, item: StreamItem) -> bytes:
        """A `StreamResponse`."""
        if isinstance(item, Batches):
            if item.frames != self._last[0]:
                self._last = item.frames, _batches(item.frames)
            return self._last[1]
        message = event_store_service_pb2.StreamResponse()
        if isinstance(item, Started):
            self._start(message.started)
            message.started.after_sequence_number = item.after
        else:
            _say_position(message, item)
        return message.SerializeToString()

    def durable_stream_responses(self, item: ConsumptionItem) -> Iterator[bytes]:
        """One `DurableStreamResponse`, or several: tokens have made batches longer than the page that holds them."""
        if isinstance(item, Batches):
            return map(_batches, _gathered(item.frames))
        return iter((self._durable_stream_response(item),))

    def _durable_stream_response(self, item: ConsumptionStarted | Waiting | CaughtUp | Idle) -> bytes:
        message = event_store_service_pb2.DurableStreamResponse()
        if isinstance(item, ConsumptionStarted):
            self._start(message.started)
            message.started.cursor, message.started.lease_epoch = item
        elif isinstance(item, Waiting):
            message.waiting.lease_epoch, message.waiting.holder = item
        else:
            _say_position(message, item)
        return message.SerializeToString()

    def _start(
        self, started: event_store_service_pb2.StreamStarted | event_store_service_pb2.DurableStreamStarted
    ) -> None:
        started.store_id = self._log.info.store_id
        started.history_id = self._log.info.history_id
        started.heartbeat_interval.CopyFrom(self._heartbeat_interval)


def durable_stream(state: StreamState) -> durable_stream_service_pb2.DurableStream:
    message = durable_stream_service_pb2.DurableStream(
        durable_stream=state.durable_stream,
        query=event_query_message(query_from_text(state.query_text)),
        cursor=state.cursor,
        head_sequence_number=state.head,
        lag_events=state.head - state.cursor,
        lag=duration(timedelta(microseconds=state.lag_microseconds)),
        active=state.holder is not None,
        holder=state.holder or "",
        waiting_consumers=state.waiting,
        lease_epoch=state.lease_epoch,
        created_at=timestamp(state.created_at),
    )
    if state.acknowledged_at is not None:
        message.acknowledged_at.CopyFrom(timestamp(state.acknowledged_at))
    return message


def _gathered(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The frames of each message: as many as it takes, and at least one."""
    begin, size = 0, _MESSAGE_BYTES
    for index, frame in enumerate(frames):
        size += len(frame)
        if size > MAX_RESPONSE_BYTES and index > begin:
            yield frames[begin:index]
            begin, size = index, _MESSAGE_BYTES + len(frame)
    yield frames[begin:]


def _batches(frames: Sequence[bytes]) -> bytes:
    return b"".join((_BATCHES, varint(sum(map(len, frames))), *frames))


def _say_position(
    message: event_store_service_pb2.StreamResponse | event_store_service_pb2.DurableStreamResponse,
    item: CaughtUp | Idle,
) -> None:
    if isinstance(item, CaughtUp):
        message.caught_up.CopyFrom(event_store_service_pb2.CaughtUp(head_sequence_number=item.head))
    else:
        message.checkpoint.CopyFrom(event_store_service_pb2.Checkpoint(sequence_number=item.position))
