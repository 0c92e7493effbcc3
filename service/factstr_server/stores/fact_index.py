"""An index of terms in memory: the memory store's, and that of a group's own earlier appends.

A lookup walks the shortest list of each alternative's terms, so that it costs at most the facts that hold its rarest
term (and those that overflowed).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from factstr_server.contract.append import EncodedEvent
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.terms import OVERFLOW


class FactIndex:
    """Facts by sequence number, consecutive from `base + 1`, and the positions that hold each term."""

    def __init__(self, base: int = 0) -> None:
        self._base = base
        self._events: list[EncodedEvent] = []
        self._holders: dict[str, list[int]] = {}
        self._indexed = 0

    @property
    def head(self) -> int:
        return self._base + len(self._events)

    @property
    def events(self) -> Sequence[EncodedEvent]:
        """All facts, in order."""
        return self._events

    def add_all(self, events: Sequence[EncodedEvent]) -> None:
        """Appends facts under the next sequence numbers."""
        self._events += events

    @property
    def base(self) -> int:
        """Facts up to it are not here."""
        return self._base

    def event(self, sequence_number: int) -> EncodedEvent:
        return self._events[sequence_number - self._base - 1]

    def matches(self, query: CompiledQuery, sequence_number: int) -> bool:
        event = self.event(sequence_number)
        return query.matches(event.event_type, lambda: event.payload)

    def version(
        self, query: CompiledQuery, after: int = 0, before_match: Callable[[int], object] | None = None
    ) -> int | None:
        """The highest sequence number above `after` that matches.

        Before a fact is compared with the query, `before_match` is told how many steps that may take, and may raise.
        """
        if query.everything:
            return self.head if self.head > max(after, self._base) else None
        newest = after = max(after, self._base)
        # Several alternatives may propose the same facts.
        compared: set[int] = set()
        for holders in self._lists(query):
            for number in reversed(holders):
                if number <= newest:
                    break
                if number in compared:
                    continue
                compared.add(number)
                if before_match:
                    before_match(query.steps(self.event(number).payload_size))
                if self.matches(query, number):
                    newest = number
        return newest if newest > after else None

    def candidates(
        self, query: CompiledQuery, after: int, before: int, *, descending: bool = False
    ) -> Iterator[int]:
        """Sequence numbers strictly between `after` and `before` that may match, each once, in order."""
        first, last = max(after, self._base) + 1, min(before, self.head + 1) - 1
        if query.everything:
            yield from range(last, first - 1, -1) if descending else range(first, last + 1)
            return
        lists = (_between(holders, first, last, descending) for holders in self._lists(query))
        previous = None
        for sequence_number in merge(*lists, reverse=descending):
            if sequence_number != previous:
                yield sequence_number
                previous = sequence_number

    def _lists(self, query: CompiledQuery) -> Iterable[list[int]]:
        """For every alternative of the query, the shortest list that holds all of its facts."""
        self._index_new_events()
        overflowed = False
        for wanted in query.terms:
            types = [self._holders.get(term, []) for term in wanted.event_types or ()]
            if wanted.predicates is None:
                yield from types
                continue
            by_type = sum(map(len, types)) if wanted.event_types is not None else None
            rarest = [
                min((self._holders.get(term, []) for term in terms), key=len) for terms in wanted.predicates
            ]
            if by_type is not None and by_type <= sum(map(len, rarest)):
                yield from types
            else:
                yield from rarest
                overflowed = True
        if overflowed:
            yield self._holders.get(OVERFLOW, [])

    def _index_new_events(self) -> None:
        """Indexing waits for the first lookup: most groups hold no condition and are never looked up in."""
        holders = self._holders
        for number, event in enumerate(self._events[self._indexed :], self._base + self._indexed + 1):
            for term in event.terms.split():
                if (numbers := holders.get(term)) is None:
                    holders[term] = [number]
                else:
                    numbers.append(number)
        self._indexed = len(self._events)


def _between(holders: list[int], first: int, last: int, descending: bool) -> Iterator[int]:  # noqa: FBT001
    begin, end = bisect_right(holders, first - 1), bisect_right(holders, last)
    if descending:
        return (holders[i] for i in range(end - 1, begin - 1, -1))
    return islice(holders, begin, end)
