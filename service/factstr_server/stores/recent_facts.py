"""The newest facts of a log, in memory: what a condition looks at when its context was read a moment ago.

Bounded by two generations: the younger one is filled, then it becomes the elder one, whose facts are forgotten. So most
commits move nothing, and what is known reaches back at least one full generation.
"""

from collections.abc import Callable, Sequence
from typing import Final

from factstr_server.contract.append import EncodedEvent
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.fact_index import FactIndex

MAX_GENERATION_FACTS: Final = 8_192
MAX_GENERATION_BYTES: Final = 4 * 1024 * 1024
"""A generation ends with the commit that goes beyond one of them."""


class RecentFacts:
    """Consecutive facts up to the head. It costs nothing per fact until somebody asks."""

    def __init__(self, head: int) -> None:
        self._elder = self._younger = FactIndex(head)
        self._bytes = 0

    @property
    def base(self) -> int:
        """Facts up to it are not known here."""
        return self._elder.base

    def add(self, events: Sequence[EncodedEvent]) -> None:
        """Takes the next facts of the log."""
        self._younger.add_all(events)
        self._bytes += sum(len(event.body) for event in events)
        if (
            self._younger.head - self._younger.base >= MAX_GENERATION_FACTS
            or self._bytes >= MAX_GENERATION_BYTES
        ):
            self._elder, self._younger = self._younger, FactIndex(self._younger.head)
            self._bytes = 0

    def version(
        self, query: CompiledQuery, after: int, before_match: Callable[[int], object] | None
    ) -> int | None:
        """The highest sequence number known here, and above `after`, that matches: as `FactIndex.version`."""
        newest = self._younger.version(query, after, before_match)
        if newest is None and after < self._younger.base:
            return self._elder.version(query, after, before_match)
        return newest

    def matches(
        self, query: CompiledQuery, sequence_number: int, before_match: Callable[[int], object]
    ) -> bool:
        """Whether a fact that is known here matches."""
        generation = self._younger if sequence_number > self._younger.base else self._elder
        before_match(query.steps(generation.event(sequence_number).payload_size))
        return generation.matches(query, sequence_number)
