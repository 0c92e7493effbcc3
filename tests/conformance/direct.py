"""The route without a network: the contract's own functions and the `EventLog`, as the edge uses them."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

from factstr.v1 import event_pb2
from factstr_server.contract.append import Condition, PreparedAppend, prepare_append
from factstr_server.contract.errors import ConditionalAppendConflict, Refusal
from factstr_server.contract.query import CompiledQuery, EventFilter, EventQuery, compile_query
from factstr_server.contract.validation import Violations
from factstr_server.log.event_log import AppendResult, EventLog
from tests.conformance.driver import (
    EVERYTHING,
    Appended,
    Driver,
    Fact,
    Failure,
    Info,
    NewFact,
    Part,
    Query,
    Violation,
)

T = TypeVar("T")


class Direct(Driver):
    """An `EventLog` in this process."""

    _log: EventLog

    async def start(self) -> None:
        self._log = EventLog(self.opened())
        await self._log.open()

    async def stop(self) -> None:
        await self._log.close()

    async def append(self, events: Sequence[NewFact], *, key: str = "") -> Appended:
        return await _told(self._append(events, None, key))

    async def append_if(
        self, events: Sequence[NewFact], query: Query, expected: int | None, *, key: str = ""
    ) -> Appended:
        return await _told(self._append(events, (query, expected), key))

    async def parts(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> AsyncIterator[Part]:
        try:
            violations = Violations()
            compiled = _compiled(query, violations, "query")
            violations.refuse_if_any()
            async for part in self._log.query(compiled, limit=limit, descending=descending, before=before):
                size = sum(map(len, part.records))
                facts = tuple(map(fact_of, map(event_pb2.EventRecord.FromString, part.records)))
                yield Part(facts, part.last_returned_sequence_number, part.context_version, size)
        except Refusal as refusal:
            raise _failure(refusal) from None

    async def sequence_number_at(self, microseconds: int) -> int:
        return await _told(self._log.sequence_number_at(microseconds))

    async def info(self) -> Info:
        return Info(*self._log.info, head=await _told(self._log.head()))

    async def _append(
        self, events: Sequence[NewFact], context: tuple[Query, int | None] | None, key: str
    ) -> Appended:
        prepared = _prepared(events, context, key)
        result: AppendResult = await self._log.append(prepared)
        return Appended(
            result.first_sequence_number,
            result.last_sequence_number,
            result.committed_count,
            result.occurred_at,
            result.repeated,
        )


def _prepared(
    events: Sequence[NewFact], context: tuple[Query, int | None] | None, key: str
) -> PreparedAppend:
    violations = Violations()
    condition = None
    if context:
        query, expected = context
        condition = Condition(_compiled(query, violations, "context_query"), expected)
    return prepare_append(events, violations, idempotency_key=key, condition=condition)


def _compiled(query: Query, violations: Violations, path: str) -> CompiledQuery:
    filters = tuple(EventFilter(f.types, f.predicates) for f in query.filters)
    return compile_query(EventQuery(filters, query.after), violations, path)


def fact_of(record: event_pb2.EventRecord) -> Fact:
    """The fact that a record's message says."""
    nanoseconds = record.occurred_at.ToNanoseconds()
    assert nanoseconds % 1000 == 0, "times are in microseconds"
    return Fact(
        record.sequence_number, nanoseconds // 1000, record.event_type, record.payload, dict(record.metadata)
    )


async def _told(call: Awaitable[T]) -> T:
    try:
        return await call
    except Refusal as refusal:
        raise _failure(refusal) from None


def _failure(refusal: Refusal) -> Failure:
    expected = actual = None
    if isinstance(refusal, ConditionalAppendConflict):
        expected, actual = refusal.expected, refusal.actual
    violations = tuple(Violation(v.field, v.description) for v in refusal.violations)
    return Failure(refusal.reason, refusal.message, refusal.metadata, violations, expected, actual)
