"""A test's values as the service's, and back: for tests that call the service without a network."""

from collections.abc import Awaitable
from typing import TypeVar

from factstr.v1 import event_pb2, event_store_service_pb2
from factstr_server.contract.errors import ConditionalAppendConflict, Refusal
from factstr_server.contract.query import (
    CompiledQuery,
    EventFilter,
    EventQuery,
    compile_query,
    query_from_text,
)
from factstr_server.contract.validation import Violations
from factstr_server.log.durable_streams import ConsumptionItem, ConsumptionStarted
from factstr_server.log.durable_streams import Waiting as ConsumptionWaiting
from factstr_server.log.live_streams import Started as StreamStarted
from factstr_server.log.live_streams import StreamItem
from factstr_server.log.stream_positions import StreamState
from factstr_server.log.subscription import Batches, Idle
from tests.conformance.facts import Fact, Filter, Query
from tests.conformance.failure import Failure, Violation
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, DurableStream, Item, Started, Waiting

T = TypeVar("T")


def event_query(query: Query) -> EventQuery:
    return EventQuery(tuple(EventFilter(f.types, f.predicates) for f in query.filters), query.after)


def compiled_into(violations: Violations, query: Query, path: str) -> CompiledQuery:
    return compile_query(event_query(query), violations, path)


def checked(query: Query) -> CompiledQuery:
    """Raises Refusal."""
    violations = Violations()
    compiled = compiled_into(violations, query, "query")
    violations.refuse_if_any()
    return compiled


def fact_of(record: event_pb2.EventRecord) -> Fact:
    """The fact that a record's message says."""
    nanoseconds = record.occurred_at.ToNanoseconds()
    assert nanoseconds % 1000 == 0, "times are in microseconds"
    return Fact(
        record.sequence_number, nanoseconds // 1000, record.event_type, record.payload, dict(record.metadata)
    )


def batches_of(message: event_store_service_pb2.CommittedBatches) -> list[Batch]:
    """The batches that a message says."""
    return [
        Batch(
            batch.first_sequence_number,
            batch.last_sequence_number,
            tuple(map(fact_of, batch.event_records)),
            batch.acknowledgement_token,
        )
        for batch in message.batches
    ]


def items_of(step: StreamItem | ConsumptionItem) -> list[Item]:
    """What a stream says, as the items of one message."""
    match step:
        case Batches(frames):
            return list(batches_of(event_store_service_pb2.CommittedBatches.FromString(b"".join(frames))))
        case StreamStarted(after):
            return [Started(after)]
        case ConsumptionStarted(cursor, lease_epoch):
            return [Started(cursor, lease_epoch)]
        case ConsumptionWaiting(lease_epoch, holder):
            return [Waiting(lease_epoch, holder)]
        case Idle(position):
            return [Checkpoint(position)]
        case _:
            return [CaughtUp(step.head)]


def durable_stream_of(state: StreamState) -> DurableStream:
    query = query_from_text(state.query_text)
    return DurableStream(
        state.durable_stream,
        Query(tuple(Filter(f.event_types, f.payload_predicates) for f in query.filters)),
        state.cursor,
        state.head,
        state.head - state.cursor,
        state.lag_microseconds,
        state.holder is not None,
        state.holder or "",
        state.waiting,
        state.lease_epoch,
        state.created_at,
        state.acknowledged_at,
    )


async def told(call: Awaitable[T]) -> T:
    """The answer of a call, or its refusal as a `Failure`."""
    try:
        return await call
    except Refusal as refusal:
        raise failure_of(refusal) from None


def failure_of(refusal: Refusal) -> Failure:
    expected = actual = None
    if isinstance(refusal, ConditionalAppendConflict):
        expected, actual = refusal.expected, refusal.actual
    violations = tuple(Violation(v.field, v.description) for v in refusal.violations)
    return Failure(refusal.reason, refusal.message, refusal.metadata, violations, expected, actual)
