"""What a conformance test says and sees, whichever way it reaches a store: values, the one failure, the `Driver`.

A law is written against these alone, so that it holds for every store and every route in `matrix`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, Self

import pytest

from factstr_server.contract.limits import DEFAULT_HEARTBEAT_INTERVAL
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Store, StoreOptions
from tests.conformance.facts import (
    EVERYTHING,
    NO_METADATA,
    Fact,
    Filter,
    NewFact,
    Query,
    of_type,
    where,
)
from tests.conformance.failure import Failure, Violation
from tests.conformance.streams import FROM_THE_BEGINNING, DurableStream, Listing, Start, Stream, eventually

__all__ = (
    "EVERYTHING",
    "NO_METADATA",
    "Answer",
    "Appended",
    "Driver",
    "Fact",
    "Failure",
    "Filter",
    "Info",
    "NewFact",
    "Options",
    "Part",
    "Query",
    "Violation",
    "of_type",
    "refused",
    "where",
)


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


class Options(NamedTuple):
    """How a store is opened, beyond its URL."""

    idempotency_retention: timedelta | None = None
    wrap: Callable[[Store], Store] | None = None
    """Puts something around the store (faults, counters) each time it is opened."""
    heartbeat_interval: timedelta = DEFAULT_HEARTBEAT_INTERVAL
    drain: timedelta = timedelta(seconds=20)
    """How long a server that stops waits for calls under way."""


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

    @abstractmethod
    def stream_all(self, after: int | None = None) -> Stream: ...

    @abstractmethod
    def stream_to(self, query: Query, after: int | None = None) -> Stream: ...

    @abstractmethod
    def stream_all_durable(
        self, name: str, *, window: int = 0, wait: bool = False, start: Start = FROM_THE_BEGINNING
    ) -> Stream:
        """With `window` the most unacknowledged batches (0 = the default), and `start` for a new name."""

    @abstractmethod
    def stream_to_durable(
        self,
        name: str,
        query: Query,
        *,
        window: int = 0,
        wait: bool = False,
        start: Start = FROM_THE_BEGINNING,
    ) -> Stream: ...

    @abstractmethod
    async def acknowledge(self, name: str, token: str) -> int: ...

    @abstractmethod
    async def list_durable(self, prefix: str = "", *, page_size: int = 100, token: str = "") -> Listing: ...

    @abstractmethod
    async def durable(self, name: str) -> DurableStream: ...

    @abstractmethod
    async def reset(self, name: str, cursor: int, *, force: bool = False) -> DurableStream: ...

    @abstractmethod
    async def delete(self, name: str, *, force: bool = False) -> None: ...

    @abstractmethod
    async def await_cursor(self, name: str, number: int, seconds: float | None = 5) -> tuple[int, bool]:
        """The cursor, and whether it has reached the number."""

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

    async def free(self, name: str = "s") -> DurableStream:
        """The durable stream, once nobody holds its lease any more."""
        return await eventually(lambda: self.durable(name), lambda stream: not stream.active)

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
