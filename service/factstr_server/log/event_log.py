"""The log as the edge uses it: append, append_if, query, positions, and its streams."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import NamedTuple

from factstr_server.contract.append import LookedUp, PreparedAppend
from factstr_server.contract.errors import (
    ConditionalAppendConflict,
    Refusal,
    idempotency_key_reused,
    log_diverged,
    server_draining,
    stream_draining,
)
from factstr_server.contract.limits import (
    DEFAULT_HEARTBEAT_INTERVAL,
    DEFAULT_UNAVAILABLE_WAIT,
    MAX_SEQUENCE_NUMBER,
)
from factstr_server.contract.query import CompiledQuery
from factstr_server.log.append_pipeline import AppendPipeline, Room
from factstr_server.log.committer import Committer
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.durable_streams import DurableStreams
from factstr_server.log.figures import LogFigures
from factstr_server.log.follower import Follower
from factstr_server.log.live_streams import LiveStreams
from factstr_server.log.stream_positions import StreamPositions
from factstr_server.log.tracing import Tracing
from factstr_server.stores.protocol import (
    AppendOutcome,
    Committed,
    Conflict,
    KeyReused,
    Repeated,
    Store,
    StoreInfo,
    Undecided,
    Window,
)


class AppendResult(NamedTuple):
    """What an append committed, now or (repeated) when its key was first used. Time in microseconds since 1970."""

    first_sequence_number: int
    last_sequence_number: int
    occurred_at: int
    repeated: bool

    @property
    def committed_count(self) -> int:
        return self.last_sequence_number - self.first_sequence_number + 1

    @classmethod
    def of(cls, outcome: AppendOutcome) -> "AppendResult | Refusal":
        """What the caller is told of an outcome. There is nothing to tell of one that is undecided."""
        match outcome:
            case Committed():
                return cls(*outcome, False)
            case Repeated(first):
                return cls(*first, True)
            case Conflict(expected, actual):
                return ConditionalAppendConflict(expected, actual)
            case KeyReused(key):
                return idempotency_key_reused(key)
            case Undecided():
                raise AssertionError


class QueryPart(NamedTuple):
    """The next records of a query's result."""

    records: list[bytes]
    last_returned_sequence_number: int | None
    context_version: int | None


class EventLog:
    """One store, its committer and its streams. Every method may be called by any number of tasks of one event loop."""

    def __init__(
        self,
        store: Store,
        heartbeat_interval: timedelta = DEFAULT_HEARTBEAT_INTERVAL,
        unavailable_wait: timedelta = DEFAULT_UNAVAILABLE_WAIT,
        tracing: Tracing | None = None,
    ) -> None:
        self._store = store
        self.tracing = tracing
        self._dispatcher = Dispatcher()
        self._follower = Follower(store, self._dispatcher)
        self._committer = Committer(store, self._follower, unavailable_wait, tracing)
        self._dispatcher.appends_wait = lambda: self._committer.appends_wait
        self.live = LiveStreams(store, self._dispatcher, heartbeat_interval.total_seconds())
        self.durable = DurableStreams(store, self._committer, self.live)
        self.positions = StreamPositions(store, self.durable, self._dispatcher)
        self._pipelines: set[AppendPipeline] = set()
        self._pipeline_numbers = count(1)
        self._pipeline_room = Room()
        self._pipelines_closed = False
        self.on_available: Callable[[bool], None] = lambda _: None
        """Called when the store answers again, and when it does not any more."""
        store.watch(self)

    async def open(self) -> None:
        """Opens the store and starts committing. Raises StoreError."""
        await self._store.open()
        self._dispatcher.begin_at(await self._store.head())
        self._follower.start()
        self._committer.start()
        self.durable.start()

    # What the store says of its own accord (`stores.protocol.StoreListener`).

    def available(self, available: bool, /) -> None:  # noqa: FBT001
        if available:
            self._committer.store_is_back()
        self.on_available(available)

    def head_seen(self, head: int, /) -> None:
        self._follower.head_seen(head)

    def streams_changed(self) -> None:
        self.durable.streams_changed()
        self.positions.streams_changed()

    def diverged(self, head: int, /) -> None:
        self.live.end_current(log_diverged)
        self._follower.restart_at(head)

    def end_streams(self) -> None:
        """Ends every stream, and everybody who waits, because the server stops."""
        self._pipelines_closed = True
        for pipeline in self._pipelines:
            pipeline.halt(server_draining())
        self.live.end_all(stream_draining)
        self.durable.end_waiting(stream_draining)
        self.positions.end_waiting(stream_draining)

    async def drain(self) -> None:
        """Refuses new appends and finishes those under way."""
        await self._committer.drain()

    async def close(self, end: float | None = None) -> None:
        """Leases that the store does not take back are waited for until the loop's time `end`, or a few seconds."""
        try:
            await self.durable.close(end)
            await self.drain()
        finally:
            await self._follower.close()
            await self._store.close()

    @property
    def info(self) -> StoreInfo:
        return self._store.info

    @property
    def figures(self) -> LogFigures:
        return LogFigures(
            self._dispatcher.position,
            *self._committer.queued,
            *self._dispatcher.tail.size,
            self._committer.figures,
        )

    async def head(self) -> int:
        return await self._store.head()

    async def sequence_number_at(self, microseconds: int) -> int:
        return await self._store.sequence_number_at(microseconds)

    async def append(self, append: PreparedAppend) -> AppendResult:
        """Commits an append, conditional or not. Raises Refusal; ConditionalAppendConflict where its context has
        changed.
        """
        outcome = await self._committer.submit(append)
        while isinstance(outcome, Undecided):
            append = await self._looked_up(append)
            outcome = await self._committer.submit(append)
        result = AppendResult.of(outcome)
        if isinstance(result, Refusal):
            raise result
        return result

    @contextmanager
    def pipeline(self) -> Iterator[AppendPipeline]:
        """Appends of one caller, committed and answered in their order without waiting for each other."""
        pipeline = AppendPipeline(
            next(self._pipeline_numbers), self._pipeline_room, self._committer.submit_run, self._looked_up
        )
        self._pipelines.add(pipeline)
        if self._pipelines_closed:
            pipeline.halt(server_draining())
        try:
            yield pipeline
        finally:
            self._pipelines.discard(pipeline)
            pipeline.close()

    async def _looked_up(self, append: PreparedAppend) -> PreparedAppend:
        """Finds its context's version while others commit: only what they commit meanwhile is left to look at then."""
        condition = append.condition
        assert condition, "without one there is nothing to decide"
        history_id = self.info.history_id
        head = await self._store.head()
        version = (await self._store.read_context(condition.query, Window(max_facts=0))).context_version
        return replace(append, condition=condition._replace(looked_up=LookedUp(version, head, history_id)))

    async def query(
        self,
        query: CompiledQuery,
        *,
        limit: int | None = None,
        descending: bool = False,
        before: int | None = None,
    ) -> AsyncIterator[QueryPart]:
        """The facts that match, in parts of bounded size; an empty result is exactly one part.

        The log is immutable, so the first read's snapshot gives the context version, and later reads of facts up to
        that version see the same snapshot, in as many short reads as it takes.
        """
        unbounded = MAX_SEQUENCE_NUMBER + 1
        window = Window(
            after=min(query.min_sequence_number or 0, MAX_SEQUENCE_NUMBER),
            before=unbounded if before is None else min(before, unbounded),
            descending=descending,
            max_facts=limit,
        )
        version, page = await self._store.read_context(query, window)
        history_id = self.info.history_id
        last_returned = None
        while True:
            if page.records:
                last_returned = page.last_sequence_number
                yield QueryPart(page.records, last_returned, version)
            if page.finished or version is None:
                break
            remaining = None if window.max_facts is None else window.max_facts - len(page.records)
            if descending:
                window = window._replace(before=page.looked_up_to, max_facts=remaining)
            else:
                window = window._replace(
                    after=page.looked_up_to, before=min(window.before, version + 1), max_facts=remaining
                )
            page = await self._store.read_facts(query, window)
            if self.info.history_id != history_id:
                raise log_diverged()
        if last_returned is None:
            yield QueryPart([], None, version)
