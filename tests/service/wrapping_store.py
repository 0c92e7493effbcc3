"""Stores around a store: they fail or wait where a test says so, and pass everything else on."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.protocol import (
    Advance,
    BatchPage,
    BatchWindow,
    ContextRead,
    Outcome,
    Page,
    Store,
    StoreInfo,
    StoreListener,
    Window,
)
from factstr_server.stores.stream_protocol import (
    AcquireOutcome,
    Acquisition,
    Ages,
    CursorState,
    DeleteOutcome,
    ResetOutcome,
    StoredStream,
)


class WrappingStore:
    """A `Store` that passes every call on to another one."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def info(self) -> StoreInfo:
        return self.inner.info

    def watch(self, listener: StoreListener) -> None:
        self.inner.watch(listener)

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        return await self.inner.commit(group)

    async def head(self) -> int:
        return await self.inner.head()

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        return await self.inner.read_context(query, window)

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        return await self.inner.read_facts(query, window)

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        return await self.inner.read_batches(query, window)

    async def sequence_number_at(self, microseconds: int) -> int:
        return await self.inner.sequence_number_at(microseconds)

    @property
    def acknowledgement_key(self) -> bytes:
        return self.inner.acknowledgement_key

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        return await self.inner.acquire(acquisition)

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        await self.inner.release(durable_stream, lease_epoch)

    async def get(self, durable_stream: str) -> StoredStream | None:
        return await self.inner.get(durable_stream)

    async def cursors(self, durable_streams: Collection[str]) -> Mapping[str, CursorState]:
        return await self.inner.cursors(durable_streams)

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        return await self.inner.list_from(after, name_prefix, limit)

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        return await self.inner.reset(durable_stream, cursor, force=force)

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        return await self.inner.delete(durable_stream, force=force)

    async def ages(self, sequence_numbers: list[int]) -> Ages:
        return await self.inner.ages(sequence_numbers)


class FailingStore(WrappingStore):
    """Raises `failure`, while there is one, instead of committing or reading."""

    failure: Exception | None = None
    failing_reads: Exception | None = None
    largest_group: int | None = None
    """Groups of more appends than this fail with `failure`; None = every group."""

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        if self.failure and len(group) > (self.largest_group or 0):
            raise self.failure
        return await super().commit(group)

    async def head(self) -> int:
        if self.failing_reads:
            raise self.failing_reads
        return await super().head()

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        if self.failing_reads:
            raise self.failing_reads
        return await super().read_context(query, window)


class StallingStore(WrappingStore):
    """Commits wait at a gate, before they reach the inner store, while it is closed."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        """A commit has come to the closed gate."""
        self.groups: list[int] = []
        """How many appends each group had."""

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        self.groups.append(len(group))
        if not self.gate.is_set():
            self.waiting.set()
        await self.gate.wait()
        return await super().commit(group)
