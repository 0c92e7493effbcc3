"""The fake server's streams: replayed and live from its facts, or played as a test has written them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from factstr.v1 import durable_stream_service_pb2, event_pb2, event_store_service_pb2
from factstr.v1.durable_stream_service_pb2_grpc import (
    DurableStreamServiceServicer,
    add_DurableStreamServiceServicer_to_server,
)
from tests.client.fake_server import FakeServer, Refusal

Live = event_store_service_pb2.StreamResponse
Durable = event_store_service_pb2.DurableStreamResponse

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")
LEASE_LOST = Refusal(grpc.StatusCode.ABORTED, "the lease is lost", "DURABLE_STREAM_LEASE_LOST")
SILENCE = "say nothing more, until the client ends the call"
END = "end the call without an error"

Step: TypeAlias = Live | Durable | Refusal | str


@dataclass
class Cursor:
    """A durable stream as the fake store keeps it."""

    query: event_pb2.EventQuery
    cursor: int
    epoch: int = 0
    active: bool = False
    waiting: int = 0


class StreamingServer(FakeServer, DurableStreamServiceServicer):
    """A fake server that streams its facts, to one consumer a name, until the test has something else to be played."""

    def __init__(self) -> None:
        super().__init__()
        self.play: list[Sequence[Step]] = []
        """What the next streams say, each a call, instead of what is right."""
        self.store_id, self.history_id = "store-1", "history-1"
        self.heartbeat = Duration(seconds=10)
        self.streams: dict[str, Cursor] = {}
        self.epoch = 0
        self.page_size = 2
        self.allowed: list[float] = []
        """Seconds that the callers of AwaitDurableStream gave it in all."""
        self.open_streams = 0

    def offer(self, server: grpc.Server) -> None:
        super().offer(server)
        add_DurableStreamServiceServicer_to_server(self, server)

    def commit(self, *payloads: str, event_type: str = "a") -> None:
        """Commit one batch behind the client's back."""
        self._commit([event_pb2.NewEvent(event_type=event_type, payload=payload) for payload in payloads])

    def StreamAll(self, request: event_store_service_pb2.StreamAllRequest, context: Any) -> Iterator[Live]:
        return self._stream(request, event_pb2.EventQuery(), context)

    def StreamTo(self, request: event_store_service_pb2.StreamToRequest, context: Any) -> Iterator[Live]:
        return self._stream(request, request.query, context)

    def StreamAllDurable(
        self, request: event_store_service_pb2.StreamAllDurableRequest, context: Any
    ) -> Iterator[Durable]:
        return self._consume(request, event_pb2.EventQuery(), context)

    def StreamToDurable(
        self, request: event_store_service_pb2.StreamToDurableRequest, context: Any
    ) -> Iterator[Durable]:
        return self._consume(request, request.query, context)

    def AcknowledgeDurable(
        self, request: event_store_service_pb2.AcknowledgeDurableRequest, context: Any
    ) -> event_store_service_pb2.AcknowledgeDurableResponse:
        self._begin(request, context)
        stream = self._named(request, context)
        epoch, last = map(int, request.acknowledgement_token.split(":"))
        with self.changed:
            if epoch != stream.epoch:
                LEASE_LOST.end(context)
            stream.cursor = max(stream.cursor, last)
            return event_store_service_pb2.AcknowledgeDurableResponse(cursor=stream.cursor)

    def ListDurableStreams(
        self, request: durable_stream_service_pb2.ListDurableStreamsRequest, context: Any
    ) -> durable_stream_service_pb2.ListDurableStreamsResponse:
        self._begin(request, context)
        names = sorted(name for name in self.streams if name.startswith(request.name_prefix))
        rest = [name for name in names if name > request.page_token]
        page = rest[: self.page_size]
        return durable_stream_service_pb2.ListDurableStreamsResponse(
            durable_streams=map(self._described, page),
            next_page_token=page[-1] if len(rest) > len(page) else "",
        )

    def GetDurableStream(
        self, request: durable_stream_service_pb2.GetDurableStreamRequest, context: Any
    ) -> durable_stream_service_pb2.GetDurableStreamResponse:
        self._begin(request, context)
        self._named(request, context)
        return durable_stream_service_pb2.GetDurableStreamResponse(
            durable_stream=self._described(request.durable_stream)
        )

    def ResetDurableStream(
        self, request: durable_stream_service_pb2.ResetDurableStreamRequest, context: Any
    ) -> durable_stream_service_pb2.ResetDurableStreamResponse:
        self._begin(request, context)
        stream = self._named(request, context)
        with self.changed:
            self._freed(stream, request, context)
            stream.cursor = request.cursor
        return durable_stream_service_pb2.ResetDurableStreamResponse(
            durable_stream=self._described(request.durable_stream)
        )

    def DeleteDurableStream(
        self, request: durable_stream_service_pb2.DeleteDurableStreamRequest, context: Any
    ) -> durable_stream_service_pb2.DeleteDurableStreamResponse:
        self._begin(request, context)
        stream = self._named(request, context)
        with self.changed:
            self._freed(stream, request, context)
            del self.streams[request.durable_stream]
        return durable_stream_service_pb2.DeleteDurableStreamResponse()

    def AwaitDurableStream(
        self, request: durable_stream_service_pb2.AwaitDurableStreamRequest, context: Any
    ) -> durable_stream_service_pb2.AwaitDurableStreamResponse:
        self._begin(request, context)
        stream = self._named(request, context)
        self.allowed.append(context.time_remaining())
        return durable_stream_service_pb2.AwaitDurableStreamResponse(
            cursor=stream.cursor, reached=stream.cursor >= request.sequence_number
        )

    def _stream(self, request: Any, query: event_pb2.EventQuery, context: Any) -> Iterator[Live]:
        self._begin(request, context)
        if self.play:
            yield from self._played(context)
            return
        sent = request.HasField("after_sequence_number")
        position = request.after_sequence_number if sent else len(self.records)
        if position > len(self.records):
            ahead(position, len(self.records)).end(context)
        yield live_started(position, self.store_id, self.history_id, self.heartbeat)
        for batches, head in self._read(query, position, context):
            if batches:
                yield Live(batches=event_store_service_pb2.CommittedBatches(batches=batches))
            else:
                yield Live(caught_up=event_store_service_pb2.CaughtUp(head_sequence_number=head))

    def _consume(self, request: Any, query: event_pb2.EventQuery, context: Any) -> Iterator[Durable]:
        self._begin(request, context)
        if self.play:
            yield from self._played(context)
            return
        stream = self._opened(request, query, context)
        if stream.active and not request.wait_for_lease:
            active(stream).end(context)
        if stream.active:
            yield lease_waiting(stream.epoch)
        epoch = self._acquired(stream, context)
        try:
            yield durable_started(stream.cursor, epoch, self.store_id, self.history_id, self.heartbeat)
            for batches, head in self._read(query, stream.cursor, context, stream, epoch):
                for batch in batches:
                    batch.acknowledgement_token = f"{epoch}:{batch.last_sequence_number}"
                if batches:
                    yield Durable(batches=event_store_service_pb2.CommittedBatches(batches=batches))
                else:
                    yield Durable(caught_up=event_store_service_pb2.CaughtUp(head_sequence_number=head))
            if stream.epoch != epoch:
                LEASE_LOST.end(context)
        finally:
            with self.changed:
                stream.active = stream.active and stream.epoch != epoch
                self.changed.notify_all()

    def _read(
        self,
        query: event_pb2.EventQuery,
        position: int,
        context: Any,
        stream: Cursor | None = None,
        epoch: int = 0,
    ) -> Iterator[tuple[list[event_store_service_pb2.CommittedBatch], int]]:
        """Yield what matches and, without any, once that the head is reached; wait then."""

        def is_over() -> bool:
            return not context.is_active() or (stream is not None and stream.epoch != epoch)

        def is_worth_a_look() -> bool:
            return is_over() or len(self.records) > position

        self._woken_by_end(context)
        with self.changed:
            self.open_streams += 1
        is_told = False
        try:
            while not is_over():
                with self.changed:
                    head = len(self.records)
                    batches = self._batches(query, position)
                    if not batches and is_told:
                        self.changed.wait_for(is_worth_a_look)
                        continue
                is_told = is_told or not batches
                position = head
                yield batches, head
        finally:
            with self.changed:
                self.open_streams -= 1
                self.changed.notify_all()

    def _batches(
        self, query: event_pb2.EventQuery, after: int
    ) -> list[event_store_service_pb2.CommittedBatch]:
        matching = self._matching(query)
        found = []
        for first, last in self.commits:
            records = [r for r in matching if max(first, after + 1) <= r.sequence_number <= last]
            if records:
                found.append(committed(first, last, records))
        return found

    def _opened(self, request: Any, query: event_pb2.EventQuery, context: Any) -> Cursor:
        with self.changed:
            start = len(self.records) if request.start_at_head else request.start_after_sequence_number
            stream = self.streams.setdefault(request.durable_stream, Cursor(query, start))
            if stream.query != query:
                reason = "DURABLE_STREAM_QUERY_MISMATCH"
                Refusal(grpc.StatusCode.FAILED_PRECONDITION, "another query", reason).end(context)
            return stream

    def _acquired(self, stream: Cursor, context: Any) -> int:
        self._woken_by_end(context)
        with self.changed:
            stream.waiting += 1
            self.changed.wait_for(lambda: not (stream.active and context.is_active()))
            stream.waiting -= 1
            self.epoch += 1
            stream.epoch, stream.active = self.epoch, True
            return self.epoch

    def _freed(self, stream: Cursor, request: Any, context: Any) -> None:
        if stream.active and not request.force:
            active(stream).end(context)
        if stream.active:
            self.epoch += 1
            stream.epoch, stream.active = self.epoch, False
            self.changed.notify_all()

    def _named(self, request: Any, context: Any) -> Cursor:
        if request.durable_stream not in self.streams:
            Refusal(grpc.StatusCode.NOT_FOUND, "no such stream", "DURABLE_STREAM_NOT_FOUND").end(context)
        return self.streams[request.durable_stream]

    def _described(self, name: str) -> durable_stream_service_pb2.DurableStream:
        stream = self.streams[name]
        behind = len(self.records) - stream.cursor
        lag = Duration()
        lag.FromTimedelta(timedelta(milliseconds=1_500 if behind else 0))
        return durable_stream_service_pb2.DurableStream(
            durable_stream=name,
            query=stream.query,
            cursor=stream.cursor,
            head_sequence_number=len(self.records),
            lag_events=behind,
            lag=lag,
            active=stream.active,
            holder="somebody" if stream.active else "",
            waiting_consumers=stream.waiting,
            lease_epoch=stream.epoch,
            created_at=Timestamp(seconds=1_700_000_000),
        )

    def _played(self, context: Any) -> Iterator[Any]:
        for step in self.play.pop(0):
            if isinstance(step, Refusal):
                step.end(context)
            if step == SILENCE:
                self._woken_by_end(context)
                with self.changed:
                    self.changed.wait_for(lambda: not context.is_active())
            elif step != END:
                yield step

    def _woken_by_end(self, context: Any) -> None:
        def wake() -> None:
            with self.changed:
                self.changed.notify_all()

        context.add_callback(wake)


def live_started(
    after: int = 0,
    store_id: str = "store-1",
    history_id: str = "history-1",
    heartbeat: Duration | None = None,
) -> Live:
    started = event_store_service_pb2.StreamStarted(
        after_sequence_number=after,
        store_id=store_id,
        history_id=history_id,
        heartbeat_interval=heartbeat or Duration(seconds=10),
    )
    return Live(started=started)


def durable_started(
    cursor: int,
    epoch: int,
    store_id: str = "store-1",
    history_id: str = "history-1",
    heartbeat: Duration | None = None,
) -> Durable:
    started = event_store_service_pb2.DurableStreamStarted(
        cursor=cursor,
        lease_epoch=epoch,
        store_id=store_id,
        history_id=history_id,
        heartbeat_interval=heartbeat or Duration(seconds=10),
    )
    return Durable(started=started)


def lease_waiting(epoch: int) -> Durable:
    return Durable(waiting=event_store_service_pb2.LeaseWaiting(lease_epoch=epoch, holder="somebody"))


def committed(
    first: int, last: int, records: Sequence[event_pb2.EventRecord], token: str = ""
) -> event_store_service_pb2.CommittedBatch:
    return event_store_service_pb2.CommittedBatch(
        first_sequence_number=first,
        last_sequence_number=last,
        event_records=records,
        acknowledgement_token=token,
    )


def record(number: int) -> event_pb2.EventRecord:
    return event_pb2.EventRecord(sequence_number=number, event_type="a", payload=str(number))


def live_batches(*ranges: tuple[int, int]) -> Live:
    found = [committed(first, last, [*map(record, range(first, last + 1))]) for first, last in ranges]
    return Live(batches=event_store_service_pb2.CommittedBatches(batches=found))


def durable_batches(epoch: int, *ranges: tuple[int, int]) -> Durable:
    found = [
        committed(first, last, [*map(record, range(first, last + 1))], f"{epoch}:{last}")
        for first, last in ranges
    ]
    return Durable(batches=event_store_service_pb2.CommittedBatches(batches=found))


def checkpoint(sequence_number: int) -> Live:
    return Live(checkpoint=event_store_service_pb2.Checkpoint(sequence_number=sequence_number))


def caught_up(head: int) -> Live:
    return Live(caught_up=event_store_service_pb2.CaughtUp(head_sequence_number=head))


def active(stream: Cursor) -> Refusal:
    metadata = {"holder": "somebody", "lease_epoch": str(stream.epoch)}
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, "taken", "DURABLE_STREAM_ACTIVE", metadata)


def ahead(asked_for: int, head: int) -> Refusal:
    metadata = {"asked_for": str(asked_for), "head_sequence_number": str(head)}
    return Refusal(grpc.StatusCode.OUT_OF_RANGE, "beyond the head", "CURSOR_AHEAD_OF_LOG", metadata)
