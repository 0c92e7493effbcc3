"""Durable streams beside a simple model: random histories of appends, deliveries, acknowledgements, failures, restarts.

The model knows where a cursor must be at least (acknowledged, reset, or seen there) and where it may be at most (before
the first matching batch that is not acknowledged), and exactly which batches come next.
"""

import random
from typing import NamedTuple

from tests.conformance.conftest import MakeStore
from tests.conformance.driver import Driver, NewFact, Options, of_type, refused
from tests.conformance.streams import FROM_THE_BEGINNING, Batch, Start, Stream

STEPS = 220
NAME = "modelled"
QUERY = of_type("a", "b")


class Commit(NamedTuple):
    first: int
    last: int
    matching: tuple[int, ...]


class Model:
    """What is known of the log, the cursor, and the one consumer. Methods that talk to the store check as they go."""

    def __init__(self, store: Driver, chance: random.Random) -> None:
        self.store = store
        self.chance = chance
        self.log: list[Commit] = []
        self.exists = False
        self.cursor = 0
        """Where it is at least."""
        self.epoch = 0
        self.stream: Stream | None = None
        self.window = 0
        self.position = 0
        """Up to where the open stream has delivered."""
        self.tokens: dict[str, int] = {}
        """Of the current lease: token and last sequence number."""
        self.lost: list[str] = []
        """Tokens of leases that are over."""

    @property
    def head(self) -> int:
        return self.log[-1].last if self.log else 0

    def to_come(self, position: int) -> list[Commit]:
        """What a stream after a position delivers."""
        parts = [
            commit._replace(matching=tuple(n for n in commit.matching if n > position))
            for commit in self.log
            if commit.last > position
        ]
        return [part for part in parts if part.matching]

    def see(self, cursor: int) -> None:
        """A cursor that was told: never behind what is known, never past what matches and is not acknowledged."""
        assert cursor >= self.cursor, "it went back"
        unacknowledged = self.to_come(self.cursor)
        most = max(self.cursor, unacknowledged[0].first - 1) if unacknowledged else self.head
        assert cursor <= most, f"past what was not acknowledged: {unacknowledged[0]}"
        self.cursor = cursor

    async def append(self) -> None:
        types = self.chance.choices("abcd", (3, 1, 4, 1), k=self.chance.choice((1, 1, 2, 4)))
        appended = await self.store.append([NewFact(event_type) for event_type in types])
        matching = tuple(n for n, event_type in enumerate(types, appended.first) if event_type in "ab")
        self.log.append(Commit(appended.first, appended.last, matching))

    async def open(self) -> None:
        if self.stream:
            async with self.store.stream_to_durable(NAME, QUERY) as second:
                with refused("DURABLE_STREAM_ACTIVE"):
                    await second.next()
            return
        if self.exists:
            await self.free()
        start: Start = self.chance.choice((FROM_THE_BEGINNING, 0, self.chance.randint(0, self.head)))
        self.window = self.chance.choice((1, 2, 5, 100))
        self.stream = self.store.stream_to_durable(NAME, QUERY, window=self.window, start=start)
        started = await self.stream.started()
        if self.exists:
            self.see(started.after)
        else:
            assert started.after == (start or 0)
        assert started.lease_epoch > self.epoch
        self.epoch = started.lease_epoch
        self.lease_over()
        self.exists, self.cursor, self.position = True, started.after, started.after

    async def free(self) -> None:
        await self.store.free(NAME)

    def lease_over(self) -> None:
        self.lost += self.tokens
        self.tokens.clear()

    async def deliver(self) -> None:
        if not self.stream:
            return
        unacknowledged = sum(last > self.cursor for last in self.tokens.values())
        room = self.window - unacknowledged
        for expected in self.to_come(self.position)[: self.chance.randint(0, max(room, 0))]:
            batch = await self.stream.next_of(Batch)
            assert batch.shape == (expected.first, expected.last, list(expected.matching))
            assert batch.token not in self.tokens
            assert batch.token not in self.lost
            self.tokens[batch.token] = batch.last
            self.position = batch.last

    async def acknowledge(self) -> None:
        if not self.tokens:
            return
        token = self.chance.choice(list(self.tokens))
        cursor = await self.store.acknowledge(NAME, token)
        self.cursor = max(self.cursor, self.tokens[token])
        self.see(cursor)

    async def acknowledge_what_was_lost(self) -> None:
        if not self.lost:
            return
        with refused("DURABLE_STREAM_LEASE_LOST" if self.exists else "DURABLE_STREAM_NOT_FOUND"):
            await self.store.acknowledge(NAME, self.chance.choice(self.lost))

    async def close(self) -> None:
        """The consumer goes; its tokens stay valid until somebody takes the lease."""
        if self.stream:
            await self.stream.close()
            self.stream = None
            await self.free()

    async def look(self) -> None:
        if self.exists:
            state = await self.store.durable(NAME)
            self.see(state.cursor)
            assert (state.head, state.lag_events) == (self.head, self.head - state.cursor)
            assert state.active == (self.stream is not None)
            assert state.lease_epoch == self.epoch

    async def await_what_is_passed(self) -> None:
        """Whatever matches is acknowledged up to there, so the cursor gets there by itself while somebody consumes."""
        if self.stream and not self.to_come(self.cursor):
            # A stream of which nobody reads stands still: what there is to read is not about batches.
            while item := await self.stream.next_within(0.02):
                assert not isinstance(item, Batch)
            cursor, reached = await self.store.await_cursor(NAME, self.head)
            assert reached
            self.see(cursor)

    async def reset(self) -> None:
        if self.exists:
            cursor = self.chance.randint(0, self.head)
            moved = await self.store.reset(NAME, cursor, force=True)
            assert (moved.cursor, moved.active) == (cursor, False)
            assert moved.lease_epoch > self.epoch
            self.epoch, self.cursor = moved.lease_epoch, cursor
            await self.lose_lease()

    async def delete(self) -> None:
        if self.exists:
            await self.store.delete(NAME, force=True)
            self.exists = False
            await self.lose_lease()

    async def lose_lease(self) -> None:
        self.lease_over()
        if self.stream:
            assert (await self.stream.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
            await self.stream.close()
            self.stream = None

    async def restart(self) -> None:
        if self.store.url == "memory:":
            return
        if self.stream:
            await self.stream.close()
            self.stream = None
        await self.store.restart()


async def test_whatever_happens_a_cursor_is_where_the_model_says(make_store: MakeStore) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with make_store(Options()) as store:
        model = Model(store, chance)
        steps = {
            model.append: 10,
            model.open: 5,
            model.deliver: 10,
            model.acknowledge: 8,
            model.acknowledge_what_was_lost: 2,
            model.close: 3,
            model.look: 4,
            model.await_what_is_passed: 2,
            model.reset: 1,
            model.delete: 1,
            model.restart: 1,
        }
        for step in chance.choices(list(steps), list(steps.values()), k=STEPS):
            print(step.__name__, model.cursor, model.head)
            await step()
        await model.close()
        async with store.stream_to_durable("everything", QUERY) as stream:
            assert [batch.shape for batch in await stream.until_caught_up()] == [
                (commit.first, commit.last, list(commit.matching)) for commit in model.to_come(0)
            ]
