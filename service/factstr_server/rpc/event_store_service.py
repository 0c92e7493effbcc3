"""EventStoreService: appending and querying."""

from collections.abc import AsyncGenerator

import grpc

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import Condition, PreparedAppend, prepare_append
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.validation import Violations
from factstr_server.log.event_log import EventLog
from factstr_server.rpc.edge import Edge, off_loop_if_large
from factstr_server.rpc.translation import append_response, compiled_query, query_response
from factstr_server.rpc.unknown_fields import unsupported_field


class EventStoreServicer:
    """Answers from one log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def handlers(self, edge: Edge) -> grpc.GenericRpcHandler:
        return edge.handlers(
            pb.DESCRIPTOR.services_by_name["EventStoreService"],
            unary={"Append": self.append, "AppendIf": self.append_if},
            streaming={"Query": self.query},
        )

    async def append(self, request: pb.AppendRequest, size: int) -> pb.AppendResponse:
        prepared = await off_loop_if_large(size, _prepared_append, request)
        return append_response(await self._log.append(prepared))

    async def append_if(self, request: pb.AppendIfRequest, size: int) -> pb.AppendResponse:
        prepared = await off_loop_if_large(size, _prepared_append_if, request)
        return append_response(await self._log.append(prepared))

    async def query(self, request: pb.QueryRequest, size: int) -> AsyncGenerator[bytes, None]:
        query = await off_loop_if_large(size, _checked_query, request)
        parts = self._log.query(
            query,
            limit=request.limit if request.HasField("limit") else None,
            descending=request.order == pb.ORDER_DESCENDING,
            before=request.before_sequence_number if request.HasField("before_sequence_number") else None,
        )
        async for part in parts:
            yield query_response(part)


def _prepared_append(request: pb.AppendRequest) -> PreparedAppend:
    return prepare_append(request.events, Violations(), idempotency_key=request.idempotency_key)


def _prepared_append_if(request: pb.AppendIfRequest) -> PreparedAppend:
    violations = Violations()
    query = compiled_query(request.context_query, violations, "context_query")
    expected = request.expected_context_version if request.HasField("expected_context_version") else None
    return prepare_append(
        request.events,
        violations,
        idempotency_key=request.idempotency_key,
        condition=Condition(query, expected),
    )


def _checked_query(request: pb.QueryRequest) -> CompiledQuery:
    if request.order not in pb.Order.values():
        raise unsupported_field(
            "order", request.order, f"the order {request.order}, which this server does not know"
        )
    violations = Violations()
    query = compiled_query(request.query, violations, "query")
    violations.refuse_if_any()
    return query
