"""The route without a network: the contract's own functions and the `EventLog`, as the edge uses them."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from factstr.v1 import event_pb2
from factstr_server.contract.append import Condition, PreparedAppend, prepare_append
from factstr_server.contract.errors import Refusal
from factstr_server.contract.limits import DEFAULT_UNACKNOWLEDGED_BATCHES
from factstr_server.contract.validation import Violations
from factstr_server.log.durable_streams import Consumption, ConsumptionItem
from factstr_server.log.event_log import AppendResult, EventLog
from factstr_server.log.live_streams import StreamItem
from tests.conformance.driver import (
    EVERYTHING,
    Appended,
    Driver,
    Info,
    NewFact,
    Part,
    Query,
)
from tests.conformance.service_values import (
    checked,
    compiled_into,
    durable_stream_of,
    event_query,
    fact_of,
    failure_of,
    items_of,
    told,
)
from tests.conformance.streams import (
    FROM_THE_BEGINNING,
    AtHead,
    DurableStream,
    Item,
    Listing,
    Start,
    Stream,
)


class Direct(Driver):
    """An `EventLog` in this process."""

    log: EventLog

    async def start(self) -> None:
        self.log = EventLog(self.opened(), self.options.heartbeat_interval)
        await self.log.open()

    async def stop(self) -> None:
        self.log.end_streams()
        await self.log.close()

    async def append(self, events: Sequence[NewFact], *, key: str = "") -> Appended:
        return await told(self._append(events, None, key))

    async def append_if(
        self, events: Sequence[NewFact], query: Query, expected: int | None, *, key: str = ""
    ) -> Appended:
        return await told(self._append(events, (query, expected), key))

    async def parts(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> AsyncIterator[Part]:
        try:
            compiled = checked(query)
            async for part in self.log.query(compiled, limit=limit, descending=descending, before=before):
                size = sum(map(len, part.records))
                facts = tuple(map(fact_of, map(event_pb2.EventRecord.FromString, part.records)))
                yield Part(facts, part.last_returned_sequence_number, part.context_version, size)
        except Refusal as refusal:
            raise failure_of(refusal) from None

    async def sequence_number_at(self, microseconds: int) -> int:
        return await told(self.log.sequence_number_at(microseconds))

    async def info(self) -> Info:
        return Info(*self.log.info, head=await told(self.log.head()))

    def stream_all(self, after: int | None = None) -> Stream:
        return self.stream_to(EVERYTHING, after)

    def stream_to(self, query: Query, after: int | None = None) -> Stream:
        async def items() -> AsyncGenerator[StreamItem, None]:
            async with aclosing(self.log.live.stream(checked(query), after)) as stream:
                async for item in stream:
                    yield item

        return _stream(items())

    def stream_all_durable(
        self, name: str, *, window: int = 0, wait: bool = False, start: Start = FROM_THE_BEGINNING
    ) -> Stream:
        return self.stream_to_durable(name, EVERYTHING, window=window, wait=wait, start=start)

    def stream_to_durable(
        self,
        name: str,
        query: Query,
        *,
        window: int = 0,
        wait: bool = False,
        start: Start = FROM_THE_BEGINNING,
    ) -> Stream:
        async def items() -> AsyncGenerator[ConsumptionItem, None]:
            wanted = Consumption(
                name,
                checked(query),
                event_query(query).as_text(),
                "a consumer in this process",
                window or DEFAULT_UNACKNOWLEDGED_BATCHES,
                wait,
                None if isinstance(start, AtHead) else start or 0,
            )
            async with aclosing(self.log.durable.consume(wanted)) as stream:
                async for item in stream:
                    yield item

        return _stream(items())

    async def acknowledge(self, name: str, token: str) -> int:
        return await told(self.log.durable.acknowledge(name, token))

    async def list_durable(self, prefix: str = "", *, page_size: int = 100, token: str = "") -> Listing:
        states, more = await told(self.log.positions.list_from(token, prefix, page_size))
        return Listing(list(map(durable_stream_of, states)), states[-1].durable_stream if more else "")

    async def durable(self, name: str) -> DurableStream:
        return durable_stream_of(await told(self.log.positions.get(name)))

    async def reset(self, name: str, cursor: int, *, force: bool = False) -> DurableStream:
        return durable_stream_of(await told(self.log.positions.reset(name, cursor, force=force)))

    async def delete(self, name: str, *, force: bool = False) -> None:
        await told(self.log.positions.delete(name, force=force))

    async def await_cursor(self, name: str, number: int, seconds: float | None = 5) -> tuple[int, bool]:
        cursor, reached = await told(self.log.positions.await_cursor(name, number, seconds))
        return cursor, reached

    async def _append(
        self, events: Sequence[NewFact], context: tuple[Query, int | None] | None, key: str
    ) -> Appended:
        prepared = _prepared(events, context, key)
        result: AppendResult = await self.log.append(prepared)
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
        condition = Condition(compiled_into(violations, query, "context_query"), expected)
    return prepare_append(events, violations, idempotency_key=key, condition=condition)


def _stream(steps: AsyncGenerator[StreamItem, None] | AsyncGenerator[ConsumptionItem, None]) -> Stream:
    async def read() -> list[Item]:
        return items_of(await told(anext(steps)))

    return Stream(read, steps.aclose)
