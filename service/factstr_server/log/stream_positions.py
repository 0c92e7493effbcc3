"""Positions of durable streams: seeing them, moving them, and awaiting them.

A consumer's cursor on this server is ahead of the store's where facts that do not match were passed; what is told here
is the consumer's. Awaiting makes the store's catch up first.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from factstr_server.contract.errors import (
    Reason,
    Refusal,
    cursor_ahead_of_log,
    durable_stream_active,
    durable_stream_not_found,
)
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.durable_streams import DurableStreams
from factstr_server.stores.protocol import Advance
from factstr_server.stores.stream_protocol import (
    Deleted,
    DurableStreamStore,
    LeaseHeld,
    PositionAhead,
    StoredStream,
    StreamNotFound,
)

_LOOK_AGAIN_SECONDS: Final = 1.0
"""Signals are hints: an awaited cursor may move where this server does not hear of it."""


class StreamState(NamedTuple):
    """A durable stream as it stands now. Times in microseconds since 1970."""

    durable_stream: str
    query_text: str
    cursor: int
    head: int
    lag_microseconds: int
    """0 at the head, else the age of the first fact after the cursor."""
    holder: str | None
    """Who holds the lease; None when nobody does."""
    waiting: int
    """How many consumers wait for the lease on this server."""
    lease_epoch: int
    created_at: int
    acknowledged_at: int | None


class Reached(NamedTuple):
    """What came of awaiting a cursor."""

    cursor: int
    reached: bool


class StreamPositions:
    """One for a log. Every method may be called by any number of tasks of one event loop."""

    def __init__(self, store: DurableStreamStore, streams: DurableStreams, dispatcher: Dispatcher) -> None:
        self._store = store
        self._streams = streams
        self._awaited: dict[str, dict[asyncio.Event, int]] = {}
        """By name, who awaits which position."""
        self._closed: Callable[[], Refusal] | None = None
        self._comparing: asyncio.Task[None] | None = None
        streams.on_cursor_moved = self._wake
        dispatcher.on_moved = self._wake_where_reached

    async def get(self, durable_stream: str) -> StreamState:
        """Raises Refusal."""
        stored = await self._store.get(durable_stream)
        if stored is None:
            raise durable_stream_not_found(durable_stream)
        [state] = await self._states([stored])
        return state

    async def list_from(self, after: str, name_prefix: str, limit: int) -> tuple[list[StreamState], bool]:
        """At most `limit` streams by name, strictly after a name, and whether there are more."""
        stored = await self._store.list_from(after, name_prefix, limit + 1)
        return await self._states(stored[:limit]), len(stored) > limit

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> StreamState:
        """Moves the cursor, back or forth, and ends the lease. Raises Refusal."""
        return await self._streams.to_the_end(self._reset(durable_stream, cursor, force=force))

    async def delete(self, durable_stream: str, *, force: bool) -> None:
        """Forgets the stream and ends the lease. Raises Refusal."""
        await self._streams.to_the_end(self._delete(durable_stream, force=force))

    async def _reset(self, durable_stream: str, cursor: int, *, force: bool) -> StreamState:
        with self._lease_in_doubt(durable_stream):
            outcome = await self._store.reset(durable_stream, cursor, force=force)
        match outcome:
            case StoredStream():
                self._streams.lease_ended(durable_stream)
                [state] = await self._states([outcome])
                return state
            case StreamNotFound():
                raise durable_stream_not_found(durable_stream)
            case LeaseHeld():
                raise durable_stream_active(durable_stream, *outcome)
            case PositionAhead():
                raise cursor_ahead_of_log(*outcome)

    async def _delete(self, durable_stream: str, *, force: bool) -> None:
        with self._lease_in_doubt(durable_stream):
            outcome = await self._store.delete(durable_stream, force=force)
        match outcome:
            case Deleted():
                self._streams.lease_ended(durable_stream)
            case StreamNotFound():
                raise durable_stream_not_found(durable_stream)
            case LeaseHeld():
                raise durable_stream_active(durable_stream, *outcome)

    @contextmanager
    def _lease_in_doubt(self, durable_stream: str) -> Iterator[None]:
        """Where a store cannot tell whether it has ended a lease, its consumer is told that it has: that is safe."""
        try:
            yield
        except Refusal as refusal:
            if refusal.reason is Reason.APPEND_OUTCOME_UNKNOWN:
                self._streams.lease_ended(durable_stream)
            raise

    async def await_cursor(self, durable_stream: str, sequence_number: int, seconds: float | None) -> Reached:
        """Waits until the stored cursor is at or beyond a position, or for so long; None = without a bound. Raises
        Refusal.
        """
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        moved = asyncio.Event()
        awaited = self._awaited.setdefault(durable_stream, {})
        awaited[moved] = sequence_number
        try:
            while True:
                moved.clear()
                cursor = await self._stored_cursor(durable_stream, sequence_number)
                if cursor >= sequence_number:
                    return Reached(cursor, reached=True)
                if end is not None and loop.time() >= end:
                    return Reached(cursor, reached=False)
                if self._closed:
                    raise self._closed()
                look_again = loop.time() + _LOOK_AGAIN_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(look_again if end is None else min(look_again, end)):
                        await moved.wait()
        finally:
            del awaited[moved]
            if not awaited and self._awaited.get(durable_stream) is awaited:
                del self._awaited[durable_stream]

    def end_waiting(self, why: Callable[[], Refusal]) -> None:
        """Ends those who await a cursor, for a reason."""
        self._closed = why
        if self._comparing:
            self._comparing.cancel()
        for name in self._awaited:
            self._wake(name)

    def streams_changed(self) -> None:
        """Cursors may have moved through another server."""
        if self._awaited and not self._closed and (self._comparing is None or self._comparing.done()):
            self._comparing = asyncio.create_task(self._compare_with_store())

    async def _compare_with_store(self) -> None:
        """For all that is awaited at once, however many do: the store is asked often."""
        with suppress(Refusal):  # It is asked again soon.
            stored = await self._store.cursors(list(self._awaited))
            for name, awaited in self._awaited.items():
                state = stored.get(name)
                for moved, wanted in awaited.items():
                    if state is None or state.cursor >= wanted:
                        moved.set()

    async def _stored_cursor(self, name: str, wanted: int) -> int:
        """The store's cursor, after what its consumer here has passed was stored, if that is enough."""
        stored = await self._store.get(name)
        if stored is None:
            raise durable_stream_not_found(name)
        consumer = self._streams.consumer(name)
        if stored.cursor < wanted and consumer and consumer.cursor >= wanted:
            with suppress(Refusal):
                return await self._streams.advance(
                    Advance(name, consumer.lease_epoch, consumer.cursor, acknowledged=False)
                )
        return stored.cursor

    async def _states(self, stored: Sequence[StoredStream]) -> list[StreamState]:
        cursors = [self._cursor(stream) for stream in stored]
        ages = await self._store.ages([cursor + 1 for cursor in cursors])
        return [
            StreamState(
                durable_stream=stream.durable_stream,
                query_text=stream.query_text,
                cursor=cursor,
                head=max(ages.head, cursor),
                lag_microseconds=0 if occurred_at is None else max(ages.now - occurred_at, 0),
                holder=stream.holder,
                waiting=self._streams.waiting(stream.durable_stream),
                lease_epoch=stream.lease_epoch,
                created_at=stream.created_at,
                acknowledged_at=stream.acknowledged_at,
            )
            for stream, cursor, occurred_at in zip(stored, cursors, ages.occurred_at, strict=True)
        ]

    def _cursor(self, stored: StoredStream) -> int:
        consumer = self._streams.consumer(stored.durable_stream)
        if consumer and consumer.lease_epoch == stored.lease_epoch:
            return max(stored.cursor, consumer.cursor)
        return stored.cursor

    def _wake(self, durable_stream: str) -> None:
        for moved in self._awaited.get(durable_stream, ()):
            moved.set()

    def _wake_where_reached(self) -> None:
        """A parked stream passes over facts that do not match without doing anything itself."""
        for name, awaited in self._awaited.items():
            consumer = self._streams.consumer(name)
            for moved, wanted in awaited.items():
                if consumer and consumer.cursor >= wanted:
                    moved.set()
