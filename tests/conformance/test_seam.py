"""The seam between replay and live: nothing is lost, repeated or reordered there, whoever joins whenever from wherever.

Writers append as fast as they can while streams join. Each stream is then compared with the log, batch by batch.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from factstr_server.log import dispatcher
from factstr_server.log.tail import MAX_TAIL_BYTES, Tail
from tests.conformance.conftest import MakeStore
from tests.conformance.driver import (
    EVERYTHING,
    Appended,
    Driver,
    Fact,
    Filter,
    NewFact,
    Options,
    Query,
    of_type,
    where,
)
from tests.conformance.streams import Batch
from tests.contract.naive import matches, value_of

WRITERS = 4
STREAMS = 20
TYPES = ("a", "b", "c")
QUERIES = (
    EVERYTHING,
    of_type("a"),
    of_type("a", "c"),
    where('{"n":0}'),
    where('{"n":1}', '{"n":2}'),
    Query((Filter(("b",)), Filter(("a",), ('{"n":0}',)))),
)
LAST = [NewFact(event_type, f'{{"n":{n}}}') for event_type in TYPES for n in range(5)]
"""Every query finds something in it."""


class Progress:
    """How many batches the writers have appended, and where the log ends at least."""

    def __init__(self, batches_each: int) -> None:
        self.batches_each = batches_each
        self.batches: list[Appended] = []
        self._changed = asyncio.Condition()

    @property
    def head(self) -> int:
        return max((batch.last for batch in self.batches), default=0)

    async def appended(self, batch: Appended) -> None:
        self.batches.append(batch)
        async with self._changed:
            self._changed.notify_all()

    async def until(self, count: int) -> None:
        count = min(count, WRITERS * self.batches_each)
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.batches) >= count)


class Seen(NamedTuple):
    query: Query
    after: int
    batches: list[Batch]


class Joining(NamedTuple):
    """A stream that joins once so many batches are there, and reads on only every so many batches (0 = at once)."""

    query: Query
    joins_at: int
    position: float | None
    """As a part of the log as it is then; None = from now on."""
    slowness: int

    async def follow(self, store: Driver, progress: Progress, started: asyncio.Semaphore) -> Seen:
        await progress.until(self.joins_at)
        after = None if self.position is None else int(self.position * progress.head)
        async with store.stream_to(self.query, after) as stream:
            begin = (await stream.started()).after
            assert after in {None, begin}
            started.release()
            batches: list[Batch] = []
            while not batches or batches[-1].last - batches[-1].first + 1 != len(LAST):
                if self.slowness:
                    await progress.until(len(progress.batches) + self.slowness)
                batches.append(await stream.next_of(Batch))
            return Seen(self.query, begin, batches)


async def write(store: Driver, progress: Progress, chance: random.Random) -> None:
    for _ in range(progress.batches_each):
        size = chance.choice((1, 1, 1, 2, 3, 4, 5))
        facts = [NewFact(chance.choice(TYPES), f'{{"n":{chance.randrange(5)}}}') for _ in range(size)]
        await progress.appended(await store.append(facts))


def expected(
    seen: Seen, log: Sequence[Fact], batches: Sequence[Appended]
) -> list[tuple[int, int, tuple[Fact, ...]]]:
    parts = []
    for batch in batches:
        part = tuple(
            fact
            for fact in log[batch.first - 1 : batch.last]
            if fact.sequence_number > seen.after and selects(seen.query, fact)
        )
        if part:
            parts.append((batch.first, batch.last, part))
    return parts


def selects(query: Query, fact: Fact) -> bool:
    return not query.filters or any(
        (f.types is None or fact.event_type in f.types)
        and (
            f.predicates is None
            or any(matches(value_of(fact.payload), value_of(predicate)) for predicate in f.predicates)
        )
        for f in query.filters
    )


@pytest.mark.parametrize(
    ("tail_bytes", "batches_each"),
    [(1, 80), (20_000, 150), (MAX_TAIL_BYTES, 400)],
    ids=["no tail", "small tail", "tail"],
)
async def test_nothing_is_lost_repeated_or_reordered_where_replay_becomes_live(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, tail_bytes: int, batches_each: int
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    monkeypatch.setattr(dispatcher, "Tail", lambda: Tail(tail_bytes))
    joining = [
        Joining(
            EVERYTHING if number % 3 == 0 else chance.choice(QUERIES),
            chance.randrange(WRITERS * batches_each),
            None if number % 4 == 0 else chance.choice((0, chance.random(), chance.random(), 1)),
            chance.choice((0, 0, 1, 30)),
        )
        for number in range(STREAMS)
    ]
    async with make_store(Options()) as store:
        progress, started = Progress(batches_each), asyncio.Semaphore(0)
        following = [asyncio.create_task(each.follow(store, progress, started)) for each in joining]
        await asyncio.gather(
            *(write(store, progress, random.Random(chance.random())) for _ in range(WRITERS))
        )
        for _ in following:
            await started.acquire()
        await progress.appended(await store.append(LAST))
        everything_seen = await asyncio.gather(*following)
        log = (await store.query()).facts
    batches = sorted(progress.batches)
    assert [fact.sequence_number for fact in log] == list(range(1, batches[-1].last + 1))
    for seen in everything_seen:
        got = [(batch.first, batch.last, batch.facts) for batch in seen.batches]
        assert got == expected(seen, log, batches), (seen.query, seen.after)
