"""The route that users take: a real server on a port of its own, and a client with gRPC's default options."""

from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import (
    durable_stream_service_pb2,
    errors_pb2,
    event_pb2,
    event_store_service_pb2,
    server_service_pb2,
)
from factstr.v1.durable_stream_service_pb2_grpc import DurableStreamServiceStub
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from factstr.v1.server_service_pb2_grpc import ServerServiceStub
from factstr_server.server import Server, running
from factstr_server.settings import Settings
from tests.conformance.driver import (
    EVERYTHING,
    Appended,
    Driver,
    Failure,
    Info,
    NewFact,
    Part,
    Query,
    Violation,
)
from tests.conformance.service_values import fact_of
from tests.conformance.streams import FROM_THE_BEGINNING, DurableStream, Listing, Start, Stream
from tests.conformance.wire_streams import durable_stream_of, start_of, stream_of

if TYPE_CHECKING:
    # The types of a stub on an aio channel; they exist for type checkers alone.
    from factstr.v1.durable_stream_service_pb2_grpc import DurableStreamServiceAsyncStub
    from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceAsyncStub
    from factstr.v1.server_service_pb2_grpc import ServerServiceAsyncStub

T = TypeVar("T")


class Wire(Driver):
    """A server in this process, reached through a channel."""

    _open: AsyncExitStack
    server: Server
    channel: grpc.aio.Channel
    _events: "EventStoreServiceAsyncStub"
    _durable: "DurableStreamServiceAsyncStub"
    _about: "ServerServiceAsyncStub"

    async def start(self) -> None:
        settings = Settings(
            store=self.url,
            listen=("127.0.0.1:0",),
            idempotency_retention=self.options.idempotency_retention,
            heartbeat_interval=self.options.heartbeat_interval,
            drain=self.options.drain,
        )
        store = self.opened() if self.options.wrap else None
        async with AsyncExitStack() as stack:
            self.server = await stack.enter_async_context(running(settings, store))
            self.channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(self.server.addresses[0])
            )
            self._events = EventStoreServiceStub(self.channel)
            self._durable = DurableStreamServiceStub(self.channel)
            self._about = ServerServiceStub(self.channel)
            self._open = stack.pop_all()

    async def stop(self) -> None:
        await self._open.aclose()

    async def append(self, events: Sequence[NewFact], *, key: str = "") -> Appended:
        request = event_store_service_pb2.AppendRequest(events=new_events(events), idempotency_key=key)
        return _appended(await told(self._events.Append(request)))

    async def append_if(
        self, events: Sequence[NewFact], query: Query, expected: int | None, *, key: str = ""
    ) -> Appended:
        request = event_store_service_pb2.AppendIfRequest(
            events=new_events(events),
            context_query=query_message(query),
            expected_context_version=expected,
            idempotency_key=key,
        )
        return _appended(await told(self._events.AppendIf(request)))

    async def parts(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> AsyncIterator[Part]:
        request = event_store_service_pb2.QueryRequest(
            query=query_message(query),
            limit=limit,
            order=event_store_service_pb2.ORDER_DESCENDING
            if descending
            else event_store_service_pb2.ORDER_UNSPECIFIED,
            before_sequence_number=before,
        )
        try:
            async for response in self._events.Query(request):
                yield part_of(response)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None

    async def sequence_number_at(self, microseconds: int) -> int:
        seconds, rest = divmod(microseconds, 1_000_000)
        request = server_service_pb2.GetSequenceNumberAtRequest(
            occurred_at=Timestamp(seconds=seconds, nanos=rest * 1000)
        )
        return (await told(self._about.GetSequenceNumberAt(request))).sequence_number

    async def info(self) -> Info:
        response = await told(self._about.GetServerInfo(server_service_pb2.GetServerInfoRequest()))
        return Info(
            response.store_kind, response.store_id, response.history_id, response.head_sequence_number
        )

    def stream_all(self, after: int | None = None) -> Stream:
        request = event_store_service_pb2.StreamAllRequest(after_sequence_number=after)
        return stream_of(self._events.StreamAll(request), failure_of)

    def stream_to(self, query: Query, after: int | None = None) -> Stream:
        request = event_store_service_pb2.StreamToRequest(
            query=query_message(query), after_sequence_number=after
        )
        return stream_of(self._events.StreamTo(request), failure_of)

    def stream_all_durable(
        self, name: str, *, window: int = 0, wait: bool = False, start: Start = FROM_THE_BEGINNING
    ) -> Stream:
        request = event_store_service_pb2.StreamAllDurableRequest(
            durable_stream=name, max_unacknowledged_batches=window, wait_for_lease=wait, **start_of(start)
        )
        return stream_of(self._events.StreamAllDurable(request), failure_of)

    def stream_to_durable(
        self,
        name: str,
        query: Query,
        *,
        window: int = 0,
        wait: bool = False,
        start: Start = FROM_THE_BEGINNING,
    ) -> Stream:
        request = event_store_service_pb2.StreamToDurableRequest(
            durable_stream=name,
            query=query_message(query),
            max_unacknowledged_batches=window,
            wait_for_lease=wait,
            **start_of(start),
        )
        return stream_of(self._events.StreamToDurable(request), failure_of)

    async def acknowledge(self, name: str, token: str) -> int:
        request = event_store_service_pb2.AcknowledgeDurableRequest(
            durable_stream=name, acknowledgement_token=token
        )
        return (await told(self._events.AcknowledgeDurable(request))).cursor

    async def list_durable(self, prefix: str = "", *, page_size: int = 100, token: str = "") -> Listing:
        request = durable_stream_service_pb2.ListDurableStreamsRequest(
            page_size=page_size, page_token=token, name_prefix=prefix
        )
        response = await told(self._durable.ListDurableStreams(request))
        return Listing(list(map(durable_stream_of, response.durable_streams)), response.next_page_token)

    async def durable(self, name: str) -> DurableStream:
        request = durable_stream_service_pb2.GetDurableStreamRequest(durable_stream=name)
        return durable_stream_of((await told(self._durable.GetDurableStream(request))).durable_stream)

    async def reset(self, name: str, cursor: int, *, force: bool = False) -> DurableStream:
        request = durable_stream_service_pb2.ResetDurableStreamRequest(
            durable_stream=name, cursor=cursor, force=force
        )
        return durable_stream_of((await told(self._durable.ResetDurableStream(request))).durable_stream)

    async def delete(self, name: str, *, force: bool = False) -> None:
        request = durable_stream_service_pb2.DeleteDurableStreamRequest(durable_stream=name, force=force)
        await told(self._durable.DeleteDurableStream(request))

    async def await_cursor(self, name: str, number: int, seconds: float | None = 5) -> tuple[int, bool]:
        request = durable_stream_service_pb2.AwaitDurableStreamRequest(
            durable_stream=name, sequence_number=number
        )
        if seconds is not None:
            request.timeout.FromTimedelta(timedelta(seconds=seconds))
        response = await told(self._durable.AwaitDurableStream(request))
        return response.cursor, response.reached


def new_events(facts: Iterable[NewFact]) -> list[event_pb2.NewEvent]:
    return [
        event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload, metadata=dict(fact.metadata))
        for fact in facts
    ]


def query_message(query: Query) -> event_pb2.EventQuery:
    return event_pb2.EventQuery(
        filters=[
            event_pb2.EventFilter(
                event_types=None if f.types is None else event_pb2.EventTypes(any_of=f.types),
                payload_predicates=None
                if f.predicates is None
                else event_pb2.PayloadPredicates(any_of=f.predicates),
            )
            for f in query.filters
        ],
        min_sequence_number=query.after,
    )


def part_of(response: event_store_service_pb2.QueryResponse) -> Part:
    return Part(
        tuple(map(fact_of, response.event_records)),
        response.last_returned_sequence_number
        if response.HasField("last_returned_sequence_number")
        else None,
        response.current_context_version if response.HasField("current_context_version") else None,
        response.ByteSize(),
    )


def _appended(response: event_store_service_pb2.AppendResponse) -> Appended:
    return Appended(
        response.first_sequence_number,
        response.last_sequence_number,
        response.committed_count,
        response.occurred_at.ToMicroseconds(),
        response.repeated_request,
    )


async def told(call: Awaitable[T]) -> T:
    """The answer of a call, or its status as a `Failure`."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise failure_of(error) from None


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """A status with its details. Without ErrorInfo the reason is empty."""
    code: str = error.code().name
    message = error.details() or ""
    status = status_of(error)
    if status is None:
        return Failure("", message, code=code)
    assert status.code == error.code().value[0]
    assert status.message == message
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    conflict = errors_pb2.ConditionalAppendConflict()
    for detail in status.details:
        for known in (info, bad_request, conflict):
            detail.Unpack(known)
    assert info.domain == "factstr"
    return Failure(
        info.reason,
        message,
        dict(info.metadata),
        tuple(Violation(v.field, v.description) for v in bad_request.field_violations),
        conflict.expected_context_version if conflict.HasField("expected_context_version") else None,
        conflict.actual_context_version if conflict.HasField("actual_context_version") else None,
        code,
    )


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """What the details trailer says, where there is one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            return status_pb2.Status.FromString(value)
    return None
