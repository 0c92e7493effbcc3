"""Append requests to prepared appends: the part of both unary appends and of pipelined ones that is the same."""

from copy import copy

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import Condition, PreparedAppend, prepare_append
from factstr_server.contract.validation import Violations
from factstr_server.rpc.translation import compiled_query


def prepared_append(request: pb.AppendRequest, pipeline: int = 0) -> PreparedAppend:
    """Raises Refusal."""
    return prepare_append(
        request.events, Violations(), idempotency_key=request.idempotency_key, pipeline=pipeline
    )


def prepared_append_if(request: pb.AppendIfRequest, pipeline: int = 0) -> PreparedAppend:
    """Raises Refusal."""
    violations = Violations()
    # A store may tell the conditions of a group apart by their queries' identity.
    query = copy(compiled_query(request.context_query, violations, "context_query"))
    expected = request.expected_context_version if request.HasField("expected_context_version") else None
    return prepare_append(
        request.events,
        violations,
        idempotency_key=request.idempotency_key,
        condition=Condition(query, expected),
        pipeline=pipeline,
    )
