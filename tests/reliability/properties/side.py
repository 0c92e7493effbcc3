"""One store, and what the machine knows of it alone: its times, and its open streams."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from tests.conformance.direct import Direct
from tests.conformance.driver import Driver, Fact, Failure, Query, of_type, refused
from tests.conformance.facts import EVERYTHING
from tests.conformance.streams import Stream
from tests.reliability.properties.consuming import Consuming
from tests.reliability.properties.drawn import TYPES
from tests.reliability.properties.reading import Reading
from tests.stores.list_log import Expected, ListLog, Request

NAMES = ("one", "zwölf")
"""Of durable streams."""


class Side:
    """Every method does one thing, and checks the answer against the list, which is the same for all stores."""

    def __init__(self, store: Driver, log: ListLog, *, persists: bool) -> None:
        self.store = store
        self._log = log
        self._persists = persists
        self._times: list[int] = []
        """occurred_at of each batch."""
        self._appended = 0
        """Where the log ended before the newest append."""
        self.live: list[Reading] = []
        self._delivered = 0
        self.durable = {name: Consuming(store, log, self.check, name) for name in NAMES}

    async def append(self, requests: Sequence[Request], expected: Sequence[Expected]) -> None:
        """Several are submitted together where the route keeps their order: the store decides them as one group."""
        before = self._appended
        self._appended = self._log.head
        if isinstance(self.store, Direct):
            outcomes = await asyncio.gather(*(self._outcome(request) for request in requests))
        else:
            outcomes = [await self._outcome(request) for request in requests]
        for want, (got, occurred_at) in zip(expected, outcomes, strict=True):
            assert got == want, f"{got} instead of {want}"
            if got.repeated:
                assert occurred_at == self._times[self._log.batches.index(got.last)], (
                    "a repeat tells another time"
                )
            elif not got.refusal:
                assert not self._times or self._times[-1] <= occurred_at, "time goes back"
                self._times.append(occurred_at)
        await self.query(Query(after=before), None, None, descending=False)

    async def query(self, query: Query, limit: int | None, before: int | None, *, descending: bool) -> None:
        answer = await self.store.query(query, limit=limit, before=before, descending=descending)
        expected = self._log.query(query, limit, before, descending=descending)
        assert answer.numbers == expected, f"found {answer.numbers} instead of {expected}"
        last, version = answer.last_returned, answer.context_version
        assert last == (expected[-1] if expected else None), f"{last} is told as the last of {expected}"
        wanted = self._log.version(query)
        assert version == wanted, f"the context version is told as {version} instead of {wanted}"
        for fact in answer.facts:
            self.check(fact)

    async def ask_for_moment(self, batch: int, microseconds: int) -> None:
        """A moment near that of a batch."""
        moment = (self._times[batch % len(self._times)] if self._times else 0) + microseconds
        until = [last for last, time in zip(self._log.batches, self._times, strict=True) if time <= moment]
        found, expected = await self.store.sequence_number_at(moment), max(until, default=0)
        assert found == expected, f"at {moment} the log ended at {expected}, not {found}"

    def check(self, fact: Fact) -> None:
        """It is what was appended under its number, and when."""
        assert fact.appended == self._log.facts[fact.sequence_number - 1], f"{fact} was not appended"
        batch = bisect_left(self._log.batches, fact.sequence_number)
        assert fact.occurred_at == self._times[batch], f"{fact} tells another time than its append"

    async def open_live(self, query: Query, after: int | None) -> None:
        stream = self._live_stream(query, after)
        if after is not None and after > self._log.head:
            async with stream:
                with refused("CURSOR_AHEAD_OF_LOG"):
                    await stream.next()
            return
        position = self._log.head if after is None else after
        started = await stream.started()
        assert started.after == position, f"{started} instead of {position}"
        self.live.append(Reading(self._log, self.check, query, stream, position))

    async def read_live(self, index: int, count: int | None) -> None:
        """So many batches, or to the head."""
        reading = self.live[index % len(self.live)]
        self._delivered += len(await reading.batches(self._log.head if count is None else count))
        if count is None:
            await reading.to_the_head()

    async def close_live(self, index: int) -> None:
        await self.live.pop(index % len(self.live)).stream.close()

    @property
    def delivered(self) -> int:
        """Batches, on all streams."""
        return self._delivered + sum(consuming.delivered for consuming in self.durable.values())

    async def list_names(self) -> None:
        known = sorted(name for name, consuming in self.durable.items() if consuming.query is not None)
        listed = (await self.store.list_durable()).names
        assert listed == known, f"there are {known}, not {listed}"

    async def close_streams(self) -> None:
        for reading in self.live:
            await reading.stream.close()
        for consuming in self.durable.values():
            await consuming.close()

    async def stop(self) -> None:
        await self.close_streams()
        await self.store.stop()

    async def restart(self) -> None:
        """Every stream goes on where it was, and all batches are what they were; also where nothing restarts."""
        live, active = self.live, [consuming for consuming in self.durable.values() if consuming.active]
        await self.close_streams()
        if self._persists:
            await self.store.restart()
        self.live = []
        await self.query(EVERYTHING, None, None, descending=False)
        # Stores have one way for all facts and another one for those that a query picks.
        for query in (EVERYTHING, of_type(*TYPES)):
            await self.open_live(query, 0)
            await self.read_live(0, None)
            await self.close_live(0)
        for reading in live:
            await self.open_live(reading.query, reading.position)
        for consuming in active:
            await consuming.resume()

    def _live_stream(self, query: Query, after: int | None) -> Stream:
        return self.store.stream_all(after) if query == EVERYTHING else self.store.stream_to(query, after)

    async def _outcome(self, request: Request) -> "Outcome":
        try:
            answer = await request.sent_to(self.store)
        except Failure as failure:
            return Outcome(Expected(refusal=failure.reason, actual=failure.actual), 0)
        return Outcome(Expected(answer.first, answer.last, answer.repeated), answer.occurred_at)


class Outcome(NamedTuple):
    """What a store made of an append."""

    expected: Expected
    occurred_at: int
