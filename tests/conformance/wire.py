"""The route that users take: a real server on a port of its own, and a client with gRPC's default options."""

from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import errors_pb2, event_pb2, event_store_service_pb2, server_service_pb2
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from factstr.v1.server_service_pb2_grpc import ServerServiceStub
from factstr_server.server import Server, running
from factstr_server.settings import Settings
from tests.conformance.direct import fact_of
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

if TYPE_CHECKING:
    # The types of a stub on an aio channel; they exist for type checkers alone.
    from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceAsyncStub
    from factstr.v1.server_service_pb2_grpc import ServerServiceAsyncStub

T = TypeVar("T")


class Wire(Driver):
    """A server in this process, reached through a channel."""

    _open: AsyncExitStack
    server: Server
    channel: grpc.aio.Channel
    _events: "EventStoreServiceAsyncStub"
    _about: "ServerServiceAsyncStub"

    async def start(self) -> None:
        settings = Settings(
            store=self.url,
            listen=("127.0.0.1:0",),
            idempotency_retention=self.options.idempotency_retention,
        )
        store = self.opened() if self.options.wrap else None
        async with AsyncExitStack() as stack:
            self.server = await stack.enter_async_context(running(settings, store))
            self.channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(self.server.addresses[0])
            )
            self._events = EventStoreServiceStub(self.channel)
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
