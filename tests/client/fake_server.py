"""A small server for the client's tests: a list of facts behind real gRPC, whose next answers a test can script.

It knows just enough of the contract for a client to be seen at work; what a server must do is the conformance
suite's matter.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from factstr.v1 import errors_pb2, event_pb2, event_store_service_pb2, server_service_pb2
from factstr.v1.event_store_service_pb2_grpc import (
    EventStoreServiceServicer,
    add_EventStoreServiceServicer_to_server,
)
from factstr.v1.server_service_pb2_grpc import ServerServiceServicer, add_ServerServiceServicer_to_server

_RequestT = TypeVar("_RequestT", bound=Message)


@dataclass(frozen=True)
class Refusal:
    """A status to answer with. Without a reason it is a bare one, as something between client and server sends."""

    code: grpc.StatusCode
    message: str = "refused"
    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    details: Sequence[Message] = ()
    domain: str = "factstr"

    def status(self) -> status_pb2.Status:
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
        details: list[Message] = [*([info] if self.reason else []), *self.details]
        packed = []
        for detail in details:
            packed.append(PackedAny())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the trailing metadata that a real server sends with it."""
        if self.reason is None and not self.details:
            return ()
        return (("grpc-status-details-bin", self.status().SerializeToString()),)

    def end(self, context: grpc.ServicerContext) -> NoReturn:
        if isinstance(context, _ItemContext) and self.reason in _OF_ONE_ITEM:
            raise _ItemRefused(self)
        if self.trailers():
            context.abort_with_status(rpc_status.to_status(self.status()))
        context.abort(self.code, self.message)
        raise AssertionError

    def failure(self) -> event_store_service_pb2.AppendFailure:
        """Return what a pipeline answers for the one append that it is about."""
        failure = event_store_service_pb2.AppendFailure(
            code=self.code.value[0],
            reason=errors_pb2.ErrorReason.Value(f"ERROR_REASON_{self.reason}"),
            message=self.message,
            metadata=self.metadata,
        )
        for detail in self.details:
            if isinstance(detail, errors_pb2.ConditionalAppendConflict):
                failure.conflict.CopyFrom(detail)
            elif isinstance(detail, error_details_pb2.BadRequest):
                for violation in detail.field_violations:
                    failure.field_violations.add(field=violation.field, description=violation.description)
        return failure


_OF_ONE_ITEM: Final = ("CONDITIONAL_APPEND_CONFLICT", "IDEMPOTENCY_KEY_REUSED", "INVALID_PAYLOAD")


class _ItemRefused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _ItemContext:
    """The call of a pipeline, for one of its appends."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def conflict(expected: int | None, actual: int | None) -> Refusal:
    return Refusal(
        grpc.StatusCode.ABORTED,
        f"the context's version is {actual}, not {expected}",
        "CONDITIONAL_APPEND_CONFLICT",
        details=[
            errors_pb2.ConditionalAppendConflict(
                expected_context_version=expected, actual_context_version=actual
            )
        ],
    )


def busy(seconds: float = 0) -> Refusal:
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the queue is full",
        "SERVER_BUSY",
        details=[error_details_pb2.RetryInfo(retry_delay=delay)],
    )


class FakeServer(EventStoreServiceServicer, ServerServiceServicer):
    """The facts, what was asked, and what to do instead of answering."""

    def __init__(self) -> None:
        self.records: list[event_pb2.EventRecord] = []
        self.commits: list[tuple[int, int]] = []
        self.changed = Condition()
        self.limits = server_service_pb2.Limits(max_events_per_append=10_000, max_append_bytes=3 * 2**20)
        self.requests: list[Message] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.instead: list[Refusal | None] = []
        """What to answer the next calls with; None is the right answer."""
        self.on_call: Callable[[], object] = lambda: None
        self.end_append_stream_with: Refusal | None = None
        """End pipelines after each message."""
        self.before_end_of_append_stream: Callable[[], object] = lambda: None
        self.packed: list[int] = []
        """How many appends each message of a pipeline held."""
        self.before_append: Callable[[], None] = lambda: None
        self.records_per_message = 1_000
        self.break_after_messages: list[int] = []
        """End the next queries with `break_with` after so many messages each."""
        self.break_with = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")
        self.target = ""
        self._keys: dict[str, tuple[bytes, event_store_service_pb2.AppendResponse]] = {}

    def offer(self, server: grpc.Server) -> None:
        add_EventStoreServiceServicer_to_server(self, server)
        add_ServerServiceServicer_to_server(self, server)

    def seen(self, kind: type[_RequestT]) -> list[_RequestT]:
        return [request for request in self.requests if isinstance(request, kind)]

    def store(self, *events: tuple[str, Any]) -> None:
        """Commit facts behind the client's back."""
        for event_type, payload in events:
            self._commit(
                [event_pb2.NewEvent(event_type=event_type, payload=json.dumps(payload, ensure_ascii=False))]
            )

    def Append(
        self, request: event_store_service_pb2.AppendRequest, context: Any
    ) -> event_store_service_pb2.AppendResponse:
        self._begin(request, context)
        return self._append(request, request.events, context)

    def AppendIf(
        self, request: event_store_service_pb2.AppendIfRequest, context: Any
    ) -> event_store_service_pb2.AppendResponse:
        self._begin(request, context)
        self.before_append()
        actual = max((r.sequence_number for r in self._matching(request.context_query)), default=None)
        sent = request.HasField("expected_context_version")
        expected = request.expected_context_version if sent else None
        if (expected or None) != actual:
            conflict(expected, actual).end(context)
        return self._append(request, request.events, context)

    def Query(
        self, request: event_store_service_pb2.QueryRequest, context: Any
    ) -> Iterator[event_store_service_pb2.QueryResponse]:
        self._begin(request, context)
        matching = self._matching(request.query)
        version = matching[-1].sequence_number if matching else None
        after = request.query.min_sequence_number
        before = request.before_sequence_number if request.HasField("before_sequence_number") else 2**64
        found = [record for record in matching if after < record.sequence_number < before]
        if request.order == event_store_service_pb2.ORDER_DESCENDING:
            found.reverse()
        if request.HasField("limit"):
            found = found[: request.limit]
        size = self.records_per_message
        broken_after = self.break_after_messages.pop(0) if self.break_after_messages else None
        for number, start in enumerate(range(0, max(len(found), 1), size), 1):
            part = found[start : start + size]
            last = found[start + len(part) - 1].sequence_number if found else None
            yield event_store_service_pb2.QueryResponse(
                event_records=part, current_context_version=version, last_returned_sequence_number=last
            )
            if number == broken_after:
                self.break_with.end(context)

    def GetServerInfo(
        self, request: server_service_pb2.GetServerInfoRequest, context: Any
    ) -> server_service_pb2.GetServerInfoResponse:
        self._begin(request, context)
        return server_service_pb2.GetServerInfoResponse(
            server_version="1.2.3",
            store_kind="fake",
            store_id="store-1",
            history_id="history-1",
            head_sequence_number=len(self.records),
            limits=self.limits,
            started_at=Timestamp(seconds=1_700_000_000, nanos=123_456_000),
            capabilities=["Query"],
        )

    def GetSequenceNumberAt(
        self, request: server_service_pb2.GetSequenceNumberAtRequest, context: Any
    ) -> server_service_pb2.GetSequenceNumberAtResponse:
        self._begin(request, context)
        at = request.occurred_at.ToNanoseconds()
        earlier = [r.sequence_number for r in self.records if r.occurred_at.ToNanoseconds() <= at]
        return server_service_pb2.GetSequenceNumberAtResponse(sequence_number=max(earlier, default=0))

    def AppendStream(
        self, request_iterator: Iterator[event_store_service_pb2.AppendStreamRequest], context: Any
    ) -> Iterator[event_store_service_pb2.AppendStreamResponse]:
        """Answer each append by itself; what `instead` says of one ends the call."""
        for request in request_iterator:
            self.packed.append(len(request.items))
            for item in request.items:
                answer = event_store_service_pb2.AppendStreamOutcome(correlation_id=item.correlation_id)
                try:
                    answer.committed.CopyFrom(self._append_item(item, _ItemContext(context)))
                except _ItemRefused as refused:
                    answer.failure.CopyFrom(refused.refusal.failure())
                yield event_store_service_pb2.AppendStreamResponse(outcomes=[answer])
            if self.end_append_stream_with is not None:
                self.end_append_stream_with.end(context)
        self.before_end_of_append_stream()

    # The generated class wants all methods; who serves streams too is `fake_streams.StreamingServer`.

    def StreamAll(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamTo(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamAllDurable(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamToDurable(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def AcknowledgeDurable(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def _begin(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.on_call()
        refusal = self.instead.pop(0) if self.instead else None
        if refusal is not None:
            refusal.end(context)

    def _append(
        self, request: Any, events: Sequence[event_pb2.NewEvent], context: grpc.ServicerContext
    ) -> event_store_service_pb2.AppendResponse:
        key, asked = request.idempotency_key, request.SerializeToString(deterministic=True)
        for index, event in enumerate(events):
            self._check(f"events[{index}].payload", event.payload, context)
        if key in self._keys:
            before, answer = self._keys[key]
            if before != asked:
                reason = "IDEMPOTENCY_KEY_REUSED"
                Refusal(grpc.StatusCode.ALREADY_EXISTS, "the key is taken", reason).end(context)
            repeat = event_store_service_pb2.AppendResponse(repeated_request=True)
            repeat.MergeFrom(answer)
            return repeat
        response = self._commit(events)
        if key:
            self._keys[key] = (asked, response)
        return response

    def _append_item(
        self, item: event_store_service_pb2.AppendStreamItem, context: Any
    ) -> event_store_service_pb2.AppendResponse:
        if item.HasField("append_if"):
            return self.AppendIf(item.append_if, context)
        return self.Append(item.append, context)

    def _check(self, path: str, payload: str, context: grpc.ServicerContext) -> None:
        try:
            json.loads(payload)
        except ValueError as error:
            violation = error_details_pb2.BadRequest.FieldViolation(field=path, description=str(error))
            detail = error_details_pb2.BadRequest(field_violations=[violation])
            message = f"{path}: {error}"
            Refusal(grpc.StatusCode.INVALID_ARGUMENT, message, "INVALID_PAYLOAD", details=[detail]).end(
                context
            )

    def _commit(self, events: Sequence[event_pb2.NewEvent]) -> event_store_service_pb2.AppendResponse:
        with self.changed:
            first = len(self.records) + 1
            occurred_at = Timestamp(seconds=1_700_000_000 + first, nanos=654_321_000)
            for number, event in enumerate(events, first):
                self.records.append(
                    event_pb2.EventRecord(
                        sequence_number=number,
                        occurred_at=occurred_at,
                        event_type=event.event_type,
                        metadata=event.metadata,
                        payload=event.payload,
                    )
                )
            self.commits.append((first, len(self.records)))
            self.changed.notify_all()
            return event_store_service_pb2.AppendResponse(
                first_sequence_number=first,
                last_sequence_number=first + len(events) - 1,
                committed_count=len(events),
                occurred_at=occurred_at,
            )

    def _matching(self, query: event_pb2.EventQuery) -> list[event_pb2.EventRecord]:
        return [record for record in self.records if _matches(query, record)]


def _matches(query: event_pb2.EventQuery, record: event_pb2.EventRecord) -> bool:
    if not query.filters:
        return True
    payload = json.loads(record.payload)
    return any(
        (not f.HasField("event_types") or record.event_type in f.event_types.any_of)
        and (
            not f.HasField("payload_predicates")
            or any(_holds(payload, json.loads(text)) for text in f.payload_predicates.any_of)
        )
        for f in query.filters
    )


def _holds(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(k in value and _holds(value[k], w) for k, w in wanted.items())
    return bool(value == wanted)


def serve(
    fake: FakeServer, credentials: grpc.ServerCredentials | None = None, path: Path | None = None
) -> grpc.Server:
    """Start serving on a free port of the loopback address, or a socket, and say in `fake.target` where."""
    # Without SO_REUSEPORT, so that no other test's server can share the port.
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    fake.offer(server)
    address = "127.0.0.1:0" if path is None else f"unix:{path}"
    credentials = credentials or grpc.insecure_server_credentials()
    port = server.add_secure_port(address, credentials)
    fake.target = f"127.0.0.1:{port}" if path is None else address
    server.start()
    return server
