"""Durable streams of this server: who consumes them, acknowledgements, and how far their cursors have come.

States of a name on one server: nobody -> acquiring -> consuming -> giving back -> nobody. Others who want the name
wait, or are refused, until the store has the lease back.

Invariants:
- A lease that the store gave is given back, whatever becomes of the call that asked for it.
- What this server knows of a consumer's cursor is never behind the store's, and the store's is never ahead of what was
  acknowledged or does not match.
- A consumer is known here before its stream begins, and then asks whether its lease still holds: so one whose lease a
  reset or a deletion ended meanwhile is told.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from factstr_server.contract.acknowledgement import TokenMint
from factstr_server.contract.errors import (
    Reason,
    Refusal,
    StoreDisconnected,
    cursor_ahead_of_log,
    durable_stream_active,
    durable_stream_lease_lost,
    durable_stream_not_found,
    durable_stream_query_mismatch,
)
from factstr_server.contract.query import CompiledQuery
from factstr_server.log.committer import Committer
from factstr_server.log.durable_consumer import DurableConsumer
from factstr_server.log.lease_queue import LeaseQueue
from factstr_server.log.live_streams import LiveStreams
from factstr_server.log.subscription import Step
from factstr_server.stores.protocol import Advance, Advanced, AdvanceOutcome, LeaseOver
from factstr_server.stores.stream_protocol import (
    Acquired,
    AcquireOutcome,
    Acquisition,
    DurableStreamStore,
    LeaseHeld,
    PositionAhead,
    QueryMismatch,
    StreamNotFound,
)

STORE_PASSED_SECONDS: Final = 1.0
"""How often cursors that moved over facts that do not match are stored."""

_RELEASE_AGAIN_SECONDS: Final = 1.0

_GIVE_BACK_SECONDS: Final = 5.0
"""How long a server that stops waits for its store to take leases back."""

_LAST_ACKNOWLEDGEMENTS_SECONDS: Final = 1.0
"""How long a stream that ends because the server stops waits for what it has delivered to be acknowledged."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a consumer asks for."""

    durable_stream: str
    query: CompiledQuery
    query_text: str
    holder: str
    max_unacknowledged_batches: int
    wait_for_lease: bool = False
    start_after: int | None = 0
    """Where a new name starts, strictly after it; None = at the head."""


class ConsumptionStarted(NamedTuple):
    """The lease is held: whatever is after the cursor will be delivered."""

    cursor: int
    lease_epoch: int


class Waiting(NamedTuple):
    """Another consumer holds the lease."""

    lease_epoch: int
    holder: str


ConsumptionItem: TypeAlias = Waiting | ConsumptionStarted | Step


class DurableStreams:
    """One for a log. Every method may be called by any number of tasks of one event loop."""

    def __init__(self, store: DurableStreamStore, committer: Committer, streams: LiveStreams) -> None:
        self._store = store
        self._committer = committer
        self._streams = streams
        self._consumers: dict[str, DurableConsumer] = {}
        self._giving_back: dict[str, asyncio.Task[None]] = {}
        self._queue = LeaseQueue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._comparing: asyncio.Task[None] | None = None
        self.on_cursor_moved: Callable[[str], None] = lambda _: None
        """Called with the name of a stream whose cursor has moved, or that was reset or deleted."""
        committer.on_advanced = self._advanced

    def start(self) -> None:
        self._spawn(self._store_passed_cursors())

    def end_waiting(self, why: Callable[[], Refusal]) -> None:
        """Ends those who wait for a lease, for a reason."""
        self._queue.end(why)

    async def close(self, end: float | None = None) -> None:
        """After the last call: gives back what is still held, until the loop's time `end` at most, and ends."""
        if self._giving_back:
            seconds = _GIVE_BACK_SECONDS
            if end is not None:
                seconds = max(0.0, min(seconds, end - asyncio.get_running_loop().time()))
            # What a store does not take back by then ends with the store, or by itself.
            await asyncio.wait(self._giving_back.values(), timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def consumer(self, durable_stream: str) -> DurableConsumer | None:
        """The stream's consumer on this server."""
        return self._consumers.get(durable_stream)

    def waiting(self, durable_stream: str) -> int:
        """How many consumers wait for the lease on this server."""
        return self._queue.waiting(durable_stream)

    async def consume(self, wanted: Consumption) -> AsyncGenerator[ConsumptionItem, None]:
        """What a durable stream says, from beginning to end. Raises Refusal."""
        name = wanted.durable_stream
        lease: Acquired | None = None
        async with aclosing(self._leases(wanted)) as leases:
            async for outcome in leases:
                if isinstance(outcome, Waiting):
                    yield outcome
                else:
                    lease = outcome
        assert lease, "it ends with a lease or raises"
        consumer: DurableConsumer | None = None
        try:
            subscription = await self._streams.subscribe(wanted.query, lease.cursor)
            mint = TokenMint(self._store.acknowledgement_key, name)
            consumer = DurableConsumer(subscription, lease, mint, wanted.max_unacknowledged_batches)
            self._register(name, consumer)
            await self._check_lease(name, lease.lease_epoch)
            yield ConsumptionStarted(lease.cursor, lease.lease_epoch)
            while True:
                before = consumer.cursor
                step = await consumer.next(self._streams.next_heartbeat())
                if consumer.cursor > before:
                    self.on_cursor_moved(name)
                yield step
        except Refusal as refusal:
            if consumer and refusal.reason is Reason.SERVER_DRAINING:
                await consumer.settled(asyncio.get_running_loop().time() + _LAST_ACKNOWLEDGEMENTS_SECONDS)
            raise
        finally:
            self._give_back(name, lease, consumer)

    async def acknowledge(self, durable_stream: str, token: str) -> int:
        """Moves the cursor to the token's batch, unless it is further already; where it stands then. Raises Refusal."""
        mint = TokenMint(self._store.acknowledgement_key, durable_stream)
        lease_epoch, sequence_number = mint.read(token)
        cursor = await self.advance(Advance(durable_stream, lease_epoch, sequence_number, acknowledged=True))
        consumer = self._consumers.get(durable_stream)
        return max(cursor, consumer.cursor) if consumer and consumer.lease_epoch == lease_epoch else cursor

    async def advance(self, advance: Advance) -> int:
        """Moves a cursor, durably; where it stands then. Raises Refusal."""
        name, lease_epoch, _, _ = advance
        match await self._committer.advance(advance):
            case Advanced(cursor):
                return cursor
            case PositionAhead() as ahead:
                raise cursor_ahead_of_log(*ahead)
            case StreamNotFound():
                raise durable_stream_not_found(name)
            case LeaseOver():
                raise durable_stream_lease_lost(name, lease_epoch)

    def _advanced(self, advance: Advance, outcome: AdvanceOutcome) -> None:
        """What a stored cursor means here, also when its caller has gone meanwhile: its consumer must hear of it."""
        name, lease_epoch, _, _ = advance
        consumer = self._consumers.get(name)
        if consumer and consumer.lease_epoch == lease_epoch:
            match outcome:
                case Advanced(cursor):
                    consumer.acknowledged(cursor)
                case StreamNotFound() | LeaseOver():
                    consumer.end(durable_stream_lease_lost(name, lease_epoch))
        if isinstance(outcome, Advanced):
            self.on_cursor_moved(name)

    async def to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Does what may end a lease to its end, although the caller gives up: its consumer must hear of it."""
        changing = self._spawn(change)
        # Of a caller that has gone nobody asks what came of it.
        changing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(changing)

    def streams_changed(self) -> None:
        """Leases or cursors may have changed through another server."""
        self._queue.tell_next_of_all()
        if self._consumers and (self._comparing is None or self._comparing.done()):
            self._comparing = self._spawn(self._compare_with_store())

    async def _compare_with_store(self) -> None:
        """What another server did to streams that are consumed here: acknowledged, reset, deleted, or taken over."""
        consumers = dict(self._consumers)
        try:
            stored = await self._store.cursors(consumers.keys())
        except Refusal:
            return  # It is asked again soon.
        for name, consumer in consumers.items():
            state = stored.get(name)
            if state is None or state.lease_epoch > consumer.lease_epoch:
                consumer.end(durable_stream_lease_lost(name, consumer.lease_epoch))
            elif state.lease_epoch == consumer.lease_epoch and state.cursor > consumer.stored_cursor:
                consumer.acknowledged(state.cursor)
                self.on_cursor_moved(name)

    def lease_ended(self, durable_stream: str) -> None:
        """A reset or a deletion ended the lease: its consumer hears of it, and those who wait for it."""
        consumer = self._consumers.get(durable_stream)
        if consumer:
            consumer.end(durable_stream_lease_lost(durable_stream, consumer.lease_epoch))
        self._queue.tell_next(durable_stream)
        self.on_cursor_moved(durable_stream)

    async def _leases(self, wanted: Consumption) -> AsyncGenerator[Waiting | Acquired, None]:
        """Who holds the lease, as long as somebody else does; then the lease. Raises Refusal."""
        name = wanted.durable_stream
        outcome: Acquired | LeaseHeld = LeaseHeld(0, "")
        # One place in the queue from the first try to the last, whatever the heartbeats say in between.
        with self._queue.place(name) as place:
            due = 0.0
            while True:
                if place.may_ask:
                    place.asks()
                    outcome = await (self._retry(wanted, outcome) if place.waits else self._acquire(wanted))
                else:
                    outcome = await self._holder(name, outcome)
                if isinstance(outcome, Acquired):
                    yield outcome
                    return
                place.waits = True
                if asyncio.get_running_loop().time() >= due:
                    yield Waiting(*outcome)
                    due = self._streams.next_heartbeat()
                await place.told(due)

    async def _retry(self, wanted: Consumption, known: Acquired | LeaseHeld) -> Acquired | LeaseHeld:
        """One who waits outlasts a store that is being connected to anew."""
        try:
            return await self._acquire(wanted)
        except StoreDisconnected:
            return known

    async def _holder(self, name: str, known: Acquired | LeaseHeld) -> Acquired | LeaseHeld:
        """Who holds the lease, for one who is not next: only the next one asks for it, so that nobody is overtaken."""
        try:
            stored = await self._store.get(name)
        except StoreDisconnected:
            return known
        return LeaseHeld(stored.lease_epoch, stored.holder) if stored and stored.holder else known

    async def _acquire(self, wanted: Consumption) -> Acquired | LeaseHeld:
        """Asks the store for the lease. Raises Refusal; a held lease too, where nobody waits for it."""
        name = wanted.durable_stream
        if giving_back := self._giving_back.get(name):
            # A consumer that comes back at once does not meet its own lease.
            await asyncio.wait((giving_back,), timeout=_RELEASE_AGAIN_SECONDS)
        acquiring = self._spawn(
            self._store.acquire(
                Acquisition(
                    name, wanted.query_text, wanted.query.canonical, wanted.holder, wanted.start_after
                )
            )
        )
        try:
            outcome: AcquireOutcome = await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(lambda done: self._give_back_unwanted(name, done))
            raise
        match outcome:
            case QueryMismatch():
                raise durable_stream_query_mismatch(name)
            case PositionAhead():
                raise cursor_ahead_of_log(*outcome)
            case LeaseHeld() if not wanted.wait_for_lease:
                raise durable_stream_active(name, *outcome)
        return outcome

    def _register(self, name: str, consumer: DurableConsumer) -> None:
        """The newest lease counts, in whatever order their consumers come here. Raises Refusal."""
        known = self._consumers.get(name)
        if known and known.lease_epoch > consumer.lease_epoch:
            raise durable_stream_lease_lost(name, consumer.lease_epoch)
        if known:
            known.end(durable_stream_lease_lost(name, known.lease_epoch))
        self._consumers[name] = consumer

    async def _check_lease(self, name: str, lease_epoch: int) -> None:
        stored = await self._store.get(name)
        if stored is None or stored.lease_epoch != lease_epoch:
            raise durable_stream_lease_lost(name, lease_epoch)

    def _give_back_unwanted(self, name: str, acquiring: asyncio.Task[AcquireOutcome]) -> None:
        outcome = None if acquiring.cancelled() or acquiring.exception() else acquiring.result()
        if isinstance(outcome, Acquired):
            self._give_back(name, outcome, None)

    def _give_back(self, name: str, lease: Acquired, consumer: DurableConsumer | None) -> None:
        """In the background: the call that had the lease may be cancelled, and again while it ends."""
        passed = None
        if consumer:
            if self._consumers.get(name) is consumer:
                del self._consumers[name]
            self._streams.leave(consumer.subscription)
            if consumer.cursor > consumer.stored_cursor:
                passed = Advance(name, lease.lease_epoch, consumer.cursor, acknowledged=False)
        self._giving_back[name] = self._spawn(self._given_back(name, lease.lease_epoch, passed))

    async def _given_back(self, name: str, lease_epoch: int, passed: Advance | None) -> None:
        try:
            if passed:
                await self._store_passed(passed)
            while not await self._released(name, lease_epoch):  # noqa: ASYNC110  (a store does not say that it is well)
                await asyncio.sleep(_RELEASE_AGAIN_SECONDS)
        finally:
            if self._giving_back.get(name) is asyncio.current_task():
                del self._giving_back[name]
            self._queue.tell_next(name)

    async def _store_passed(self, passed: Advance) -> None:
        """What cannot be stored now is passed again by the next consumer."""
        try:
            await self.advance(passed)
        except Refusal as refusal:
            _log.info("a durable stream's cursor was not stored: %s", refusal.message)
        except Exception:  # noqa: BLE001  (a defect must not keep the lease)
            _log.exception("a durable stream's cursor could not be stored")

    async def _released(self, name: str, lease_epoch: int) -> bool:
        try:
            await self._store.release(name, lease_epoch)
        except Exception as error:  # noqa: BLE001  (until it is given back nobody else can have it)
            _log.warning("the lease of a durable stream cannot be given back yet: %s", error)
            return False
        return True

    async def _store_passed_cursors(self) -> None:
        """Facts that do not match are passed in memory at once; the store hears of it now and then."""
        while True:
            await asyncio.sleep(STORE_PASSED_SECONDS)
            moved = [
                self._store_passed(Advance(name, consumer.lease_epoch, consumer.cursor, acknowledged=False))
                for name, consumer in self._consumers.items()
                if consumer.cursor > consumer.stored_cursor
            ]
            await asyncio.gather(*moved)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
