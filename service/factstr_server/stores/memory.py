"""The memory store: lists and dictionaries, and the semantic reference for every other store.

Everything happens in the caller's event loop without a pause, so that calls cannot interleave. Facts live as long as
the store does.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import takewhile
from uuid import uuid4

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.record import occurred_at_field, record_prefix
from factstr_server.stores.deciding import GroupDecision
from factstr_server.stores.fact_index import FactIndex
from factstr_server.stores.paging import Candidate, fill_page
from factstr_server.stores.protocol import (
    Committed,
    ContextRead,
    Outcome,
    Page,
    StoreInfo,
    StoreOptions,
    Window,
)


class MemoryStore:
    """A `LogStore` without persistence."""

    def __init__(self, options: StoreOptions) -> None:
        self.info = StoreInfo("memory", str(uuid4()), str(uuid4()))
        self._retention = options.idempotency_retention
        self._facts = FactIndex()
        self._times: list[int] = []
        """Of every fact, by position; they never decrease."""
        self._keys: dict[str, tuple[bytes, Committed]] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def commit(self, group: Sequence[PreparedAppend]) -> list[Outcome]:
        now = max(time.time_ns() // 1000, self._times[-1] if self._times else 0)
        self._forget_expired_keys(now)
        keys = {
            append.idempotency.key: self._keys[append.idempotency.key]
            for append in group
            if append.idempotency and append.idempotency.key in self._keys
        }
        decision = GroupDecision(self, keys, now)
        outcomes = decision.decide_all(group)
        for sequence_number in range(self.head_now + 1, decision.accepted.head + 1):
            self._facts.add(decision.accepted.event(sequence_number))
            self._times.append(now)
        self._keys.update((key, (fingerprint, first)) for key, fingerprint, first in decision.new_keys)
        return outcomes

    async def head(self) -> int:
        return self.head_now

    @property
    def head_now(self) -> int:
        return self._facts.head

    def version(self, query: CompiledQuery, after: int) -> int | None:
        return self._facts.version(query, after)

    def matches(self, query: CompiledQuery, sequence_number: int) -> bool:
        return self._facts.matches(query, sequence_number)

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        return ContextRead(self.version(query, 0), await self.read_facts(query, window))

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        return fill_page(query, window, self._candidates(query, window))

    async def sequence_number_at(self, microseconds: int) -> int:
        return bisect_right(self._times, microseconds)

    def _candidates(self, query: CompiledQuery, window: Window) -> Iterator[Candidate]:
        numbers = self._facts.candidates(query, window.after, window.before, descending=window.descending)
        for number in numbers:
            event = self._facts.event(number)
            prefix = record_prefix(number, occurred_at_field(self._times[number - 1]))
            yield Candidate(number, event.event_type, event.payload_size, prefix + event.body)

    def _forget_expired_keys(self, now: int) -> None:
        """The oldest keys come first, since a dictionary keeps its order and time never goes back."""
        if self._retention is None:
            return
        oldest_kept = now - self._retention.total_seconds() * 1_000_000
        expired = takewhile(lambda key: self._keys[key][1].occurred_at < oldest_kept, self._keys)
        for key in list(expired):
            del self._keys[key]
