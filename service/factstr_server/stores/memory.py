"""The memory store: lists and dictionaries, and the semantic reference for every other store.

Everything happens in the caller's event loop without a pause, so that calls cannot interleave. Facts live as long as
the store does.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import repeat, takewhile
from operator import itemgetter
from uuid import uuid4

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.record import occurred_at_field, record_prefix
from factstr_server.stores.batching import fill_batches
from factstr_server.stores.deciding import GroupDecision, Searching, moved_streams
from factstr_server.stores.fact_index import FactIndex
from factstr_server.stores.memory_streams import MemoryStreams
from factstr_server.stores.paging import Candidate, fill_page
from factstr_server.stores.protocol import (
    Advance,
    BatchPage,
    BatchWindow,
    Committed,
    ContextRead,
    Outcome,
    Page,
    StoreInfo,
    StoreListener,
    StoreOptions,
    Window,
)


class MemoryStore(MemoryStreams):
    """A `Store` without persistence."""

    def __init__(self, options: StoreOptions) -> None:
        super().__init__()
        self.info = StoreInfo("memory", str(uuid4()), str(uuid4()))
        self._retention = options.idempotency_retention
        self._facts = FactIndex()
        self._times: list[int] = []
        """Of every fact, by position; they never decrease."""
        self._batches: list[tuple[int, int]] = []
        """First and last of every batch of more than one fact."""
        self._keys: dict[str, tuple[bytes, Committed]] = {}

    def watch(self, listener: StoreListener) -> None:
        """Nobody shares it."""

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        now = self.now()
        self._forget_expired_keys(now)
        keys = {
            item.idempotency.key: self._keys[item.idempotency.key]
            for item in group
            if isinstance(item, PreparedAppend) and item.idempotency and item.idempotency.key in self._keys
        }
        decision = GroupDecision(self, keys, self.cursor_states(moved_streams(group)), now)
        outcomes = decision.decide_all(group)
        accepted = decision.accepted.events
        self._facts.add_all(accepted)
        self._times += repeat(now, len(accepted))
        self._batches += [batch[:2] for batch in decision.batches if batch[0] != batch[1]]
        self._keys.update((key, (fingerprint, first)) for key, fingerprint, first in decision.new_keys)
        self.move_cursors(decision.moved_cursors, now)
        return outcomes

    async def head(self) -> int:
        return self.head_now

    @property
    def head_now(self) -> int:
        return self._facts.head

    def version(self, query: CompiledQuery, after: int, searching: Searching | None = None) -> int | None:
        """Without bounds: there is no thread or connection to search in meanwhile."""
        return self._facts.version(query, after)

    def matches(self, query: CompiledQuery, sequence_number: int, searching: Searching) -> bool:
        return self._facts.matches(query, sequence_number)

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        return ContextRead(self.version(query, 0), await self.read_facts(query, window))

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        return fill_page(query, window, self._candidates(query, window))

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        candidates = self._candidates(query, Window(window.after, window.up_to + 1))
        return fill_batches(query, window, candidates, self._batch_of)

    async def sequence_number_at(self, microseconds: int) -> int:
        return bisect_right(self._times, microseconds)

    def now(self) -> int:
        """The store's clock: never earlier than the last commit."""
        return max(time.time_ns() // 1000, self._times[-1] if self._times else 0)

    def occurred_at(self, sequence_number: int) -> int | None:
        return self._times[sequence_number - 1] if 1 <= sequence_number <= self.head_now else None

    def _batch_of(self, sequence_number: int) -> tuple[int, int]:
        before = bisect_right(self._batches, sequence_number, key=itemgetter(0)) - 1
        if before >= 0 and self._batches[before][1] >= sequence_number:
            return self._batches[before]
        return sequence_number, sequence_number

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
