"""The contract over a plain list: the oracle that stores are compared with. Slow, and without the service's code."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.conformance.facts import Filter, NewFact, Query
from tests.contract import naive

if TYPE_CHECKING:
    # What is compared with the list alone needs no store.
    from tests.conformance.driver import Appended, Driver


class Expected(NamedTuple):
    """What an append should come to: a range, or a reason for its refusal."""

    first: int = 0
    last: int = 0
    repeated: bool = False
    refusal: str = ""
    actual: int | None = None


class Request(NamedTuple):
    """An append as it was sent; `context` is None for an unconditional one."""

    facts: tuple[NewFact, ...]
    context: Query | None = None
    expected: int | None = None
    key: str = ""

    async def sent_to(self, store: "Driver") -> "Appended":
        if self.context is None:
            return await store.append(self.facts, key=self.key)
        return await store.append_if(self.facts, self.context, self.expected, key=self.key)

    def same_as(self, other: "Request") -> bool:
        """Whether a key stands for both: byte for byte, but for the form of the query and the way to say none."""
        if self.facts != other.facts or (self.context is None) != (other.context is None):
            return False
        if self.context is None or other.context is None:
            return True
        return (self.expected or 0) == (other.expected or 0) and meaning(self.context) == meaning(
            other.context
        )


def meaning(query: Query) -> frozenset[object]:
    """A query without order, repetition, cursor and ways of writing."""
    return frozenset(
        (
            None if f.types is None else frozenset(f.types),
            None
            if f.predicates is None
            else frozenset(map(naive.meaning, map(naive.value_of, f.predicates))),
        )
        for f in query.filters
    )


class Shape(NamedTuple):
    """Of one batch what a stream delivers, and the first and last sequence number of the whole batch."""

    first: int
    last: int
    numbers: list[int]


class ListLog:
    """Facts 1 to n, and the keys that were used."""

    def __init__(self) -> None:
        self.facts: list[NewFact] = []
        self.batches: list[int] = []
        """The last sequence number of each batch."""
        self._keys: dict[str, tuple[Request, Expected]] = {}

    @property
    def head(self) -> int:
        return len(self.facts)

    def append(self, request: Request) -> Expected:
        if not request.facts:
            return Expected(refusal="EMPTY_APPEND")
        if request.key in self._keys:
            used, answer = self._keys[request.key]
            if not used.same_as(request):
                return Expected(refusal="IDEMPOTENCY_KEY_REUSED")
            return answer._replace(repeated=True)
        if request.context is not None:
            actual = self.version(request.context)
            if (request.expected or 0) != (actual or 0):
                return Expected(refusal="CONDITIONAL_APPEND_CONFLICT", actual=actual)
        first = len(self.facts) + 1
        self.facts += request.facts
        self.batches.append(len(self.facts))
        done = Expected(first, len(self.facts))
        if request.key:
            self._keys[request.key] = (request, done)
        return done

    def context(self, query: Query) -> list[int]:
        return [n for n, fact in enumerate(self.facts, 1) if selects(query, fact)]

    def version(self, query: Query) -> int | None:
        return max(self.context(query), default=None)

    def to_come(self, query: Query, after: int) -> list[Shape]:
        """What a stream of the query delivers after a position."""
        context = [number for number in self.context(query) if number > after]
        shapes = (
            Shape(before + 1, last, [number for number in context if before < number <= last])
            for before, last in pairwise((0, *self.batches))
        )
        return [shape for shape in shapes if shape.numbers]

    def query(
        self,
        query: Query,
        limit: int | None = None,
        before: int | None = None,
        *,
        descending: bool = False,
    ) -> list[int]:
        found = [n for n in self.context(query) if n > (query.after or 0) and (before is None or n < before)]
        return (found[::-1] if descending else found)[:limit]


def selects(query: Query, fact: NewFact) -> bool:
    return not query.filters or any(accepts(f, fact) for f in query.filters)


def accepts(f: Filter, fact: NewFact) -> bool:
    if f.types is not None and fact.event_type not in f.types:
        return False
    if f.predicates is None:
        return True
    return any(_matches(fact.payload, predicate) for predicate in f.predicates)


@lru_cache(maxsize=2**16)
def _matches(payload: str, predicate: str) -> bool:
    """Cached: the same texts come again and again."""
    return naive.matches(naive.value_of(payload), naive.value_of(predicate))


def key_requests(log: ListLog) -> Sequence[Request]:
    """The requests that have a key, to be sent again."""
    return [request for request, _ in log._keys.values()]
