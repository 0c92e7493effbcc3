"""A durable stream of one store beside the list: which batches come next, and where its cursor is.

The model knows where the cursor must be at least (acknowledged, reset, or seen there) and where it may be at most:
before the first matching batch that is not acknowledged.
"""

from tests.conformance.driver import EVERYTHING, Driver, Query, refused
from tests.conformance.streams import AT_HEAD, AtHead, DurableStream, Start, Stream, Waiting
from tests.reliability.properties.reading import Check, Reading
from tests.stores.list_log import ListLog, meaning


class Consuming:
    """What is known of one name. Methods that talk to the store check as they go."""

    def __init__(self, store: Driver, log: ListLog, check: Check, name: str) -> None:
        self._store = store
        self._log = log
        self._check = check
        self.name = name
        self.query: Query | None = None
        """Which the name is bound to; None where there is no such name."""
        self.tokens: dict[int, str] = {}
        """Of the newest lease, by the last sequence number of the batch."""
        self._lost: list[str] = []
        """Of leases that are over."""
        self.delivered = 0
        """Batches, under all leases."""
        self._reading: Reading | None = None
        self._window = 0
        self._cursor = 0
        """Where it is at least."""
        self._epoch = 0

    @property
    def active(self) -> bool:
        return self._reading is not None

    async def open(self, query: Query | None, window: int, start: Start) -> None:
        """By somebody who does not wait. None stands for the query that the name is bound to, or for all facts."""
        query = query or self.query or EVERYTHING
        stream = self._stream(query, window, start)
        if why := self._refused(query, start):
            async with stream:
                with refused(why):
                    await stream.next()
            return
        started = await stream.started()
        if self.query is None:
            self._cursor = self._log.head if isinstance(start, AtHead) else start or 0
            assert started.after == self._cursor, f"a new name starts at {started.after}, not {self._cursor}"
        self._begun(stream, query, window, *started)

    async def hand_over(self, window: int) -> None:
        """The consumer goes while another one waits."""
        assert self._reading, "active"
        assert self.query is not None, "bound"
        stream = self._stream(self.query, window, None, wait=True)
        waiting = await stream.next()
        assert isinstance(waiting, Waiting), waiting
        assert waiting.lease_epoch == self._epoch, f"{waiting}, not for the lease {self._epoch}"
        state = await self._state()
        assert state.waiting == 1, f"one waits: {state}"
        await self._reading.stream.close()
        while isinstance(item := await stream.next(), Waiting):
            pass
        self._begun(stream, self.query, window, *item)

    async def deliver(self, count: int) -> None:
        """As many batches as there are and the window lets through."""
        assert self._reading, "active"
        unacknowledged = sum(last > self._cursor for last in self.tokens)
        batches = await self._reading.batches(min(count, self._window - unacknowledged))
        for batch in batches:
            assert batch.token not in (*self.tokens.values(), *self._lost), "a token comes twice"
            self.tokens[batch.last] = batch.token
        self.delivered += len(batches)

    async def acknowledge(self, index: int) -> None:
        """Any batch of the newest lease, in any order and again."""
        last = sorted(self.tokens)[index % len(self.tokens)]
        self._cursor = max(
            self._cursor, self._seen(await self._store.acknowledge(self.name, self.tokens[last]), last)
        )

    async def acknowledge_what_was_lost(self, index: int) -> None:
        if self._lost:
            with refused("DURABLE_STREAM_NOT_FOUND" if self.query is None else "DURABLE_STREAM_LEASE_LOST"):
                await self._store.acknowledge(self.name, self._lost[index % len(self._lost)])

    async def acknowledge_another(self) -> None:
        for token in self.tokens.values():
            with refused("INVALID_ARGUMENT", "acknowledgement_token"):
                await self._store.acknowledge(f"not {self.name}", token)

    async def look(self) -> None:
        if self.query is None:
            with refused("DURABLE_STREAM_NOT_FOUND"):
                await self._store.durable(self.name)
            return
        state = await self._state()
        assert (state.name, meaning(state.query)) == (self.name, meaning(self.query)), (
            f"{state} of {self.query}"
        )
        head = self._log.head
        assert (state.head, state.lag_events) == (head, head - state.cursor), f"{state} at {head}"
        told = state.active, state.lease_epoch, state.waiting
        assert told == (self.active, self._epoch, 0), (
            f"{state}, with {self.active=} and the epoch {self._epoch}"
        )

    async def pass_over(self) -> None:
        """Where all that matches is acknowledged, the cursor gets to the head by itself while somebody consumes."""
        if self.query is None or not self._reading or self._log.to_come(self.query, self._cursor):
            return
        await self._reading.to_the_head()
        cursor, reached = await self._store.await_cursor(self.name, self._log.head)
        assert reached, f"the cursor stays at {cursor}, before {self._log.head}"
        self._cursor = self._seen(cursor)

    async def reset(self, cursor: int, *, force: bool) -> None:
        if why := self._not_changed(force=force) or (
            "CURSOR_AHEAD_OF_LOG" if cursor > self._log.head else ""
        ):
            with refused(why):
                await self._store.reset(self.name, cursor, force=force)
            return
        moved = await self._store.reset(self.name, cursor, force=force)
        self._check_epoch(moved.lease_epoch)
        assert (moved.cursor, moved.active) == (cursor, False), f"{moved} after a reset to {cursor}"
        self._epoch, self._cursor = moved.lease_epoch, cursor
        await self._lease_lost()

    async def delete(self, *, force: bool) -> None:
        if why := self._not_changed(force=force):
            with refused(why):
                await self._store.delete(self.name, force=force)
            return
        await self._store.delete(self.name, force=force)
        self.query = None
        await self._lease_lost()

    async def close(self) -> None:
        """The consumer goes; its tokens stay valid until somebody takes the lease."""
        if self._reading:
            await self._reading.stream.close()
            self._reading = None
            await self._store.free(self.name)

    async def resume(self) -> None:
        """As it was open before."""
        await self.open(None, self._window, AT_HEAD)

    def _stream(self, query: Query, window: int, start: Start, *, wait: bool = False) -> Stream:
        if query == EVERYTHING:
            return self._store.stream_all_durable(self.name, window=window, wait=wait, start=start)
        return self._store.stream_to_durable(self.name, query, window=window, wait=wait, start=start)

    def _refused(self, query: Query, start: Start) -> str:
        """Why it is not opened."""
        if self.query is None:
            return "CURSOR_AHEAD_OF_LOG" if isinstance(start, int) and start > self._log.head else ""
        if meaning(query) != meaning(self.query):
            return "DURABLE_STREAM_QUERY_MISMATCH"
        return "DURABLE_STREAM_ACTIVE" if self.active else ""

    def _not_changed(self, *, force: bool) -> str:
        if self.query is None:
            return "DURABLE_STREAM_NOT_FOUND"
        return "DURABLE_STREAM_ACTIVE" if self.active and not force else ""

    def _begun(self, stream: Stream, query: Query, window: int, cursor: int, epoch: int) -> None:
        """A new lease."""
        self._check_epoch(epoch)
        self._epoch = epoch
        self._cursor = self._seen(cursor)
        self._lost += self.tokens.values()
        self.tokens.clear()
        self.query, self._window = query, window
        self._reading = Reading(self._log, self._check, query, stream, cursor)

    def _check_epoch(self, epoch: int) -> None:
        assert epoch > self._epoch, f"the epoch {epoch} follows {self._epoch}"

    async def _state(self) -> DurableStream:
        state = await self._store.durable(self.name)
        self._cursor = self._seen(state.cursor)
        return state

    def _seen(self, cursor: int, acknowledged: int = 0) -> int:
        """A cursor that was told: never behind what is known, never past what matches and is not acknowledged."""
        least = max(self._cursor, acknowledged)
        assert cursor >= least, f"the cursor is at {cursor}, before {least}"
        unacknowledged = self._log.to_come(self.query, least) if self.query is not None else []
        most = max(least, unacknowledged[0].first - 1) if unacknowledged else self._log.head
        assert cursor <= most, f"the cursor is at {cursor}, past {unacknowledged} that is not acknowledged"
        return cursor

    async def _lease_lost(self) -> None:
        self._lost += self.tokens.values()
        self.tokens.clear()
        if self._reading:
            failure = await self._reading.stream.ended()
            assert failure.reason == "DURABLE_STREAM_LEASE_LOST", failure
            await self._reading.stream.close()
            self._reading = None
