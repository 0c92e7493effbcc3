"""Durable streams in memory: the reference for every other store's, and as short-lived as the facts beside them."""

import secrets
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping

from factstr_server.contract.acknowledgement import KEY_BYTES
from factstr_server.stores.deciding import MovedCursor
from factstr_server.stores.stream_protocol import (
    Acquired,
    AcquireOutcome,
    Acquisition,
    Ages,
    CursorState,
    Deleted,
    DeleteOutcome,
    LeaseHeld,
    PositionAhead,
    QueryMismatch,
    ResetOutcome,
    StoredStream,
    StreamNotFound,
)


class MemoryStreams(ABC):
    """A `DurableStreamStore` without persistence; the log that it belongs to supplies head and times."""

    def __init__(self) -> None:
        self.acknowledgement_key = secrets.token_bytes(KEY_BYTES)
        self._streams: dict[str, StoredStream] = {}
        self._canonical_queries: dict[str, str] = {}
        self._last_lease_epoch = 0

    @property
    @abstractmethod
    def head_now(self) -> int: ...

    @abstractmethod
    def now(self) -> int: ...

    @abstractmethod
    def occurred_at(self, sequence_number: int) -> int | None: ...

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        name = acquisition.durable_stream
        known = self._streams.get(name)
        if known is None:
            start = self.head_now if acquisition.start_after is None else acquisition.start_after
            if start > self.head_now:
                return PositionAhead(start, self.head_now)
            known = StoredStream(name, acquisition.query_text, start, 0, self.now(), None, None)
            self._canonical_queries[name] = acquisition.canonical_query
        elif self._canonical_queries[name] != acquisition.canonical_query:
            return QueryMismatch()
        elif known.holder is not None:
            return LeaseHeld(known.lease_epoch, known.holder)
        acquired = known._replace(lease_epoch=self._next_lease_epoch(), holder=acquisition.holder)
        self._streams[name] = acquired
        return Acquired(acquired.lease_epoch, acquired.cursor)

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        known = self._streams.get(durable_stream)
        if known and known.lease_epoch == lease_epoch:
            self._streams[durable_stream] = known._replace(holder=None)

    async def get(self, durable_stream: str) -> StoredStream | None:
        return self._streams.get(durable_stream)

    async def cursors(self, durable_streams: Collection[str]) -> dict[str, CursorState]:
        return self.cursor_states(durable_streams)

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        names = sorted(name for name in self._streams if name.startswith(name_prefix))
        begin = bisect_right(names, after)
        return [self._streams[name] for name in names[begin : begin + limit]]

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        known = self._streams.get(durable_stream)
        if known is None:
            return StreamNotFound(durable_stream)
        if known.holder is not None and not force:
            return LeaseHeld(known.lease_epoch, known.holder)
        if cursor > self.head_now:
            return PositionAhead(cursor, self.head_now)
        moved = known._replace(cursor=cursor, lease_epoch=self._next_lease_epoch(), holder=None)
        self._streams[durable_stream] = moved
        return moved

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        known = self._streams.get(durable_stream)
        if known is None:
            return StreamNotFound(durable_stream)
        if known.holder is not None and not force:
            return LeaseHeld(known.lease_epoch, known.holder)
        del self._streams[durable_stream], self._canonical_queries[durable_stream]
        self._next_lease_epoch()
        return Deleted()

    async def ages(self, sequence_numbers: list[int]) -> Ages:
        return Ages(self.now(), self.head_now, list(map(self.occurred_at, sequence_numbers)))

    def cursor_states(self, names: Iterable[str]) -> dict[str, CursorState]:
        """Those of the names that exist."""
        return {
            name: CursorState(known.lease_epoch, known.cursor)
            for name in names
            if (known := self._streams.get(name)) is not None
        }

    def move_cursors(self, moved: Mapping[str, MovedCursor], now: int) -> None:
        for name, (cursor, acknowledged) in moved.items():
            known = self._streams[name]
            at = now if acknowledged else known.acknowledged_at
            self._streams[name] = known._replace(cursor=cursor, acknowledged_at=at)

    def _next_lease_epoch(self) -> int:
        self._last_lease_epoch += 1
        return self._last_lease_epoch
