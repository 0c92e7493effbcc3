"""EventStoreService: appending, querying, and streams."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from time import time_ns
from typing import Final, TypeAlias

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.limits import DEFAULT_UNACKNOWLEDGED_BATCHES
from factstr_server.contract.query import EVERYTHING, CompiledQuery, EventQuery
from factstr_server.contract.validation import Violations
from factstr_server.log.durable_streams import Consumption, ConsumptionItem
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import StreamItem
from factstr_server.log.subscription import Batches
from factstr_server.rpc.append_stream import append_stream
from factstr_server.rpc.edge import Call, Edge, InTurn, off_loop_if_large
from factstr_server.rpc.preparing import prepared_append, prepared_append_if
from factstr_server.rpc.stream_messages import StreamMessages
from factstr_server.rpc.translation import (
    append_response,
    check_durable_stream,
    compiled_query,
    event_query,
    query_response,
)
from factstr_server.rpc.unknown_fields import unsupported_field
from factstr_server.settings import Settings

_ORDERS: Final = frozenset(pb.Order.values())

DurableRequest: TypeAlias = pb.StreamAllDurableRequest | pb.StreamToDurableRequest


class EventStoreServicer:
    """Answers from one log and its settings."""

    def __init__(self, log: EventLog, settings: Settings) -> None:
        self._log = log
        self._messages = StreamMessages(log, settings.heartbeat_interval)

    def add_to(self, edge: Edge) -> None:
        edge.add(
            pb.DESCRIPTOR.services_by_name["EventStoreService"],
            unary={
                "Append": self.append,
                "AppendIf": self.append_if,
                "AcknowledgeDurable": self.acknowledge_durable,
            },
            streaming={
                "Query": self.query,
                "StreamAll": self.stream_all,
                "StreamTo": self.stream_to,
                "StreamAllDurable": self.consume,
                "StreamToDurable": self.consume,
            },
            pipelined={"AppendStream": self.append_stream},
            while_draining=("AcknowledgeDurable",),
        )

    async def append(self, request: pb.AppendRequest, call: Call) -> bytes:
        prepared = await off_loop_if_large(call.size, prepared_append, request)
        return append_response(await self._log.append(prepared))

    async def append_if(self, request: pb.AppendIfRequest, call: Call) -> bytes:
        prepared = await off_loop_if_large(call.size, prepared_append_if, request)
        return append_response(await self._log.append(prepared))

    def append_stream(self, requests: AsyncIterator[bytes], in_turn: InTurn) -> AsyncGenerator[bytes, None]:
        return append_stream(self._log, requests, in_turn)

    async def query(self, request: pb.QueryRequest, call: Call) -> AsyncGenerator[bytes, None]:
        query = await off_loop_if_large(call.size, _checked_query, request)
        parts = self._log.query(
            query,
            limit=request.limit if request.HasField("limit") else None,
            descending=request.order == pb.ORDER_DESCENDING,
            before=request.before_sequence_number if request.HasField("before_sequence_number") else None,
        )
        async for part in parts:
            yield query_response(part)

    def stream_all(self, request: pb.StreamAllRequest, _call: Call) -> AsyncGenerator[bytes, None]:
        return self._stream(EVERYTHING, request)

    async def stream_to(self, request: pb.StreamToRequest, call: Call) -> AsyncGenerator[bytes, None]:
        violations = Violations()
        query = await off_loop_if_large(call.size, compiled_query, request.query, violations, "query")
        violations.refuse_if_any()
        async with aclosing(self._stream(query, request)) as messages:
            async for message in messages:
                yield message

    async def consume(self, request: DurableRequest, call: Call) -> AsyncGenerator[bytes, None]:
        """Both kinds of durable streams: all facts are those that the empty query matches."""
        wanted = await off_loop_if_large(call.size, _consumption, request, call.peer)
        async with aclosing(self._log.durable.consume(wanted)) as items:
            async for item in items:
                began = time_ns()
                for message in self._messages.durable_stream_responses(item):
                    yield message
                self._delivered(item, began)

    async def acknowledge_durable(
        self, request: pb.AcknowledgeDurableRequest, _call: Call
    ) -> pb.AcknowledgeDurableResponse:
        check_durable_stream(request.durable_stream)
        cursor = await self._log.durable.acknowledge(request.durable_stream, request.acknowledgement_token)
        return pb.AcknowledgeDurableResponse(cursor=cursor)

    async def _stream(
        self, query: CompiledQuery, request: pb.StreamAllRequest | pb.StreamToRequest
    ) -> AsyncGenerator[bytes, None]:
        after = request.after_sequence_number if request.HasField("after_sequence_number") else None
        async with aclosing(self._log.live.stream(query, after)) as items:
            async for item in items:
                began = time_ns()
                yield self._messages.stream_response(item)
                self._delivered(item, began)

    def _delivered(self, item: StreamItem | ConsumptionItem, began: int) -> None:
        """Is told where somebody traces it."""
        if self._log.tracing and isinstance(item, Batches):
            self._log.tracing.delivered(item.ranges, began)


def _checked_query(request: pb.QueryRequest) -> CompiledQuery:
    if request.order not in _ORDERS:
        raise unsupported_field(
            "order", request.order, f"the order {request.order}, which this server does not know"
        )
    violations = Violations()
    query = compiled_query(request.query, violations, "query")
    violations.refuse_if_any()
    return query


def _consumption(request: DurableRequest, holder: str) -> Consumption:
    violations = Violations()
    check_durable_stream(request.durable_stream, violations)
    query, text = EVERYTHING, EventQuery().as_text()
    if isinstance(request, pb.StreamToDurableRequest):
        query, text = compiled_query(request.query, violations, "query"), event_query(request.query).as_text()
    violations.refuse_if_any()
    start = request.WhichOneof("start")
    start_after: int | None = request.start_after_sequence_number
    if start == "start_at_head" and request.start_at_head:
        start_after = None
    return Consumption(
        request.durable_stream,
        query,
        text,
        holder,
        request.max_unacknowledged_batches or DEFAULT_UNACKNOWLEDGED_BATCHES,
        request.wait_for_lease,
        start_after,
    )
