"""What a conformance test says and sees, whichever way it reaches a store: values, the one failure, the `Driver`.

A law is written against these alone, so that it holds for every store and every route in `matrix`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple, Self

import pytest

from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Store, StoreOptions

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class NewFact(NamedTuple):
    """A fact to append."""

    event_type: str = "happened"
    payload: str = "{}"
    metadata: Mapping[str, str] = NO_METADATA


class Fact(NamedTuple):
    """A fact as it came back; the time in microseconds since 1970."""

    sequence_number: int
    occurred_at: int
    event_type: str
    payload: str
    metadata: Mapping[str, str]

    @property
    def appended(self) -> NewFact:
        return NewFact(self.event_type, self.payload, self.metadata)


class Filter(NamedTuple):
    """One alternative of a query. None = unset, which is not the same as empty."""

    types: tuple[str, ...] | None = None
    predicates: tuple[str, ...] | None = None


class Query(NamedTuple):
    """Filters joined by OR, and the exclusive cursor of returned facts (`min_sequence_number`)."""

    filters: tuple[Filter, ...] = ()
    after: int | None = None


EVERYTHING = Query()


def of_type(*types: str) -> Query:
    return Query((Filter(types=types),))


def where(*predicates: str) -> Query:
    return Query((Filter(predicates=predicates),))


class Appended(NamedTuple):
    """The answer to an append."""

    first: int
    last: int
    committed: int
    occurred_at: int
    repeated: bool

    @property
    def as_repeat(self) -> "Appended":
        return self._replace(repeated=True)


class Part(NamedTuple):
    """One message of a query's answer, or what becomes one."""

    facts: tuple[Fact, ...]
    last_returned: int | None
    context_version: int | None
    size: int
    """In bytes, as far as this route knows it."""


class Answer(NamedTuple):
    """The whole answer to a query."""

    facts: tuple[Fact, ...]
    last_returned: int | None
    context_version: int | None
    parts: tuple[Part, ...]

    @property
    def numbers(self) -> list[int]:
        return [fact.sequence_number for fact in self.facts]

    @property
    def payloads(self) -> list[str]:
        return [fact.payload for fact in self.facts]


class Info(NamedTuple):
    """Which store it is, and how long its log."""

    kind: str
    store_id: str
    history_id: str
    head: int


class Violation(NamedTuple):
    field: str
    description: str


@dataclass(eq=False)
class Failure(Exception):
    """A refused call. The status code is known over the wire alone."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    expected: int | None = None
    actual: int | None = None
    code: str | None = None

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.violations]


class Options(NamedTuple):
    """How a store is opened, beyond its URL."""

    idempotency_retention: timedelta | None = None
    wrap: Callable[[Store], Store] | None = None
    """Puts something around the store (faults, counters) each time it is opened."""


class Driver(ABC):
    """One store, reached in one way. Calls raise `Failure`, and may run concurrently."""

    def __init__(self, url: str, options: Options) -> None:
        self.url = url
        self.options = options

    def opened(self) -> Store:
        """The store as the options say, not yet open."""
        store = store_by_url(self.url, StoreOptions(self.options.idempotency_retention))
        return self.options.wrap(store) if self.options.wrap else store

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @abstractmethod
    async def append(self, events: Sequence[NewFact], *, key: str = "") -> Appended: ...

    @abstractmethod
    async def append_if(
        self, events: Sequence[NewFact], query: Query, expected: int | None, *, key: str = ""
    ) -> Appended: ...

    @abstractmethod
    def parts(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> AsyncIterator[Part]: ...

    @abstractmethod
    async def sequence_number_at(self, microseconds: int) -> int: ...

    @abstractmethod
    async def info(self) -> Info: ...

    async def query(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> Answer:
        parts = [part async for part in self.parts(query, limit=limit, descending=descending, before=before)]
        assert parts, "an answer is at least one message"
        assert {part.context_version for part in parts} == {parts[0].context_version}, "one snapshot"
        facts = tuple(fact for part in parts for fact in part.facts)
        return Answer(facts, parts[-1].last_returned, parts[-1].context_version, tuple(parts))

    async def head(self) -> int:
        return (await self.info()).head

    async def version(self, query: Query = EVERYTHING) -> int | None:
        return (await self.query(query, limit=0)).context_version

    async def append_payloads(self, *payloads: str) -> Appended:
        return await self.append([NewFact(payload=payload) for payload in payloads])

    async def append_types(self, *types: str) -> Appended:
        return await self.append([NewFact(event_type) for event_type in types])


@contextmanager
def refused(reason: str, *fields: str) -> Iterator[pytest.ExceptionInfo[Failure]]:
    """Expects a failure for this reason, and, where given, exactly these fields."""
    with pytest.raises(Failure) as caught:
        yield caught
    assert caught.value.reason == reason, caught.value
    if fields:
        assert caught.value.fields == list(fields)
