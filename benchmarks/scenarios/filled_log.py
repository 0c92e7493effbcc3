"""A log of a given size that holds contexts of exactly ten facts, spread evenly from its beginning to its end."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import count
from time import perf_counter
from typing import Final

from benchmarks.connection import Connection
from benchmarks.facts import Fact, FactSource
from benchmarks.ledger import Ledger
from benchmarks.scenarios.append import append_request
from factstr.v1 import event_store_service_pb2 as pb

FACTS_PER_CONTEXT: Final = 10
BESIDE: Final = Fact("Noted", '{"case":{"id":"beside all contexts"}}')
"""May be appended to such a log. It belongs to no context."""
_EVENTS_PER_APPEND: Final = 1_000
_APPENDS_AT_ONCE: Final = 4


class FilledLog:
    """What is in the log: `size` facts, those of `contexts` cases among them."""

    def __init__(self, source: FactSource, size: int, contexts: int) -> None:
        self.size = size
        self.contexts = contexts
        self.ledger = Ledger()
        self._source = source
        self._stride = size // max(FACTS_PER_CONTEXT * contexts, 1)
        self._positions: dict[int, list[tuple[int, Fact]]] = {number: [] for number in range(contexts)}

    def case(self, context: int) -> str:
        return f"case-{context}-of-{self.contexts}"

    def expected(self, context: int) -> list[tuple[int, Fact]]:
        """The facts of a context with their sequence numbers, in order."""
        return self._positions[context]

    async def fill(self, connection: Connection) -> float:
        """Appends all facts; the events per second that it took."""
        firsts = count(0, _EVENTS_PER_APPEND)

        async def appender() -> None:
            while (first := next(firsts)) < self.size:
                numbers = self._stretch(first)
                facts = self.facts(numbers)
                response = await connection.append(append_request(facts))
                self.ledger.acknowledged(response, partial(self.facts, numbers))
                offset = pb.AppendResponse.FromString(response).first_sequence_number - first
                self._note(first, facts, offset)

        begin = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(_APPENDS_AT_ONCE):
                group.create_task(appender())
        for positions in self._positions.values():
            positions.sort()
        return self.size / (perf_counter() - begin)

    def loaded(self) -> None:
        """Says that an empty log was filled elsewhere (`benchmarks.filling`), in order."""
        for first in range(0, self.size, _EVENTS_PER_APPEND):
            numbers = self._stretch(first)
            self._note(first, self.facts(numbers), 1)
            response = pb.AppendResponse(
                first_sequence_number=numbers[0] + 1,
                last_sequence_number=numbers[-1] + 1,
                committed_count=len(numbers),
            )
            self.ledger.acknowledged(response.SerializeToString(), partial(self.facts, numbers))

    def facts(self, positions: range) -> Sequence[Fact]:
        """A stretch of the log, whose first position is 0."""
        return [self._fact(position) for position in positions]

    def payload_bytes(self) -> float:
        """The mean of the first facts."""
        facts = self.facts(self._stretch(0))
        return sum(len(fact.payload.encode()) for fact in facts) / len(facts)

    def _stretch(self, first: int) -> range:
        return range(first, min(first + _EVENTS_PER_APPEND, self.size))

    def _fact(self, position: int) -> Fact:
        context = self._context_at(position)
        if context is None:
            return self._source.fact(position)
        return self._source.fact_of_case(0, self.case(context))

    def _context_at(self, position: int) -> int | None:
        turn, between = divmod(position, self._stride)
        return turn % self.contexts if not between and turn < FACTS_PER_CONTEXT * self.contexts else None

    def _note(self, first: int, facts: Sequence[Fact], offset: int) -> None:
        for position, fact in enumerate(facts, first):
            context = self._context_at(position)
            if context is not None:
                self._positions[context].append((position + offset, fact))


def facts_beside() -> list[Fact]:
    return [BESIDE]
