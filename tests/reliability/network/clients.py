"""The Python client over links that fail, as a program uses it: appends that are repeated by themselves, and streams
that go on by themselves.
"""

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

from factstr import CommittedBatch, DeadlineExceeded, Event, FactstrError, OutcomeUnknown, Unavailable, where
from factstr.aio import EventStore, PendingAppend, connect
from tests.conformance.driver import NewFact
from tests.conformance.streams import Batch
from tests.reliability.network.link import Link
from tests.reliability.network.served import served, stopped
from tests.reliability.network.storm import Storm, Stormy, Weather, weather_of
from tests.reliability.part import Trial
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote
from tests.stores.opened import url_of

_TIMEOUT_SECONDS: Final = 5.0
_MOST_PENDING: Final = 20
_PAUSE_SECONDS: Final = 0.01
_ENDING_SECONDS: Final = 60.0
"""For what is under way when the network works again. The client notices within 40 s that a connection is dead."""
_END: Final = "ended"

_MAY_PASS: Final = (OutcomeUnknown, Unavailable, DeadlineExceeded)


async def clients(count: int, faults: int, trial: Trial) -> Counter[str]:
    figures: Counter[str] = Counter()
    for number in range(count):
        folder = trial.folder / f"clients-{number}"
        folder.mkdir()
        figures += await used(weather_of(number, faults), folder, trial.chance("clients", number))
        trial.say(f"network: {number + 1} of {count} storms on the Python client")
    return figures


async def used(weather: Weather, folder: Path, chance: Random) -> Counter[str]:
    """All parts of a program at once, each over a link of its own, on a server with SQLite."""
    async with AsyncExitStack() as stack:
        [server] = await served(stack, [url_of(folder / "facts.db")], folder)
        links = [await stack.enter_async_context(Link.to(server.address(), chance)) for _ in range(5)]
        stores = [
            await stack.enter_async_context(connect(link.address, timeout=_TIMEOUT_SECONDS)) for link in links
        ]
        direct = await stack.enter_async_context(Remote(server.address()))
        program = Program(chance)
        writing, reading = await stack.enter_async_context(program.running(stores))
        storm = Storm([*map(Stormy, links)], weather, chance)
        await storm.over()
        program.ending = True
        async with asyncio.timeout(_ENDING_SECONDS):
            await asyncio.gather(*writing)
            await direct.append([NewFact(_END)])
            await asyncio.gather(*reading)
        log = await whole_log(direct)
        program.check(log)
        assert (await direct.durable("consumer")).cursor == log[-1].last
        await stopped(server)
    return storm.faults + program.figures + Counter({"facts appended by the Python client": log[-1].last - 1})


class Program:
    """It knows what it has sent, and what it was told."""

    def __init__(self, chance: Random) -> None:
        self.ending = False
        self.figures: Counter[str] = Counter()
        self._chance = chance
        self._sent: dict[str, int] = {}
        """By writer, how many facts."""
        self._followed: list[CommittedBatch] = []
        self._consumed: defaultdict[int, list[CommittedBatch]] = defaultdict(list)
        """By epoch."""
        self._acknowledged: defaultdict[int, int] = defaultdict(int)

    @asynccontextmanager
    async def running(
        self, stores: Sequence[EventStore]
    ) -> AsyncIterator[tuple[list[asyncio.Task[None]], list[asyncio.Task[None]]]]:
        """Those that write, and those that read."""
        follower, consumer, *writers = stores
        reading = [asyncio.create_task(self._follow(follower)), asyncio.create_task(self._consume(consumer))]
        write = (self._append, self._pipe, self._decide)
        writing = [asyncio.create_task(do(store)) for do, store in zip(write, writers, strict=True)]
        try:
            yield writing, reading
        finally:
            for task in (*writing, *reading):
                task.cancel()
            await asyncio.gather(*writing, *reading, return_exceptions=True)

    def _fact(self, by: str) -> tuple[Event, str]:
        """The next one, and its key."""
        number = self._sent[by] = self._sent.get(by, 0) + 1
        return Event(by, {"number": number}), f"{by} {number}"

    async def _append(self, store: EventStore) -> None:
        while not self.ending:
            fact, key = self._fact("appended")
            while True:
                try:
                    await store.append(fact, idempotency_key=key)
                    break
                except _MAY_PASS:
                    self.figures["outcomes unknown to the Python client"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _pipe(self, store: EventStore) -> None:
        """What an appender has left unanswered is given to the next one."""
        unanswered: deque[tuple[Event, str]] = deque()
        pending: deque[PendingAppend] = deque()
        while unanswered or not self.ending:
            try:
                async with store.appender() as appender:
                    for fact, key in unanswered:
                        pending.append(await appender.append(fact, idempotency_key=key))
                    while pending or not self.ending:
                        while not self.ending and len(pending) < _MOST_PENDING:
                            unanswered.append(self._fact("piped"))
                            fact, key = unanswered[-1]
                            pending.append(await appender.append(fact, idempotency_key=key))
                        await pending.popleft()
                        unanswered.popleft()
                        await asyncio.sleep(_PAUSE_SECONDS / 5)
            except _MAY_PASS:
                self.figures["outcomes unknown to the Python client"] += 1
            # They have failed together.
            await asyncio.gather(*pending, return_exceptions=True)
            pending.clear()

    async def _decide(self, store: EventStore) -> None:
        """Counts: each fact says which of its kind it is."""
        while not self.ending:
            try:
                await store.decide(
                    where("counted"), lambda context: Event("counted", {"number": len(context.records) + 1})
                )
            except _MAY_PASS:
                self.figures["outcomes unknown to the Python client"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, store: EventStore) -> None:
        async with await store.stream_all(after=0, on_interruption=self._interrupted) as batches:
            async for batch in batches:
                self._followed.append(batch)
                if batch.event_records[0].event_type == _END:
                    return

    async def _consume(self, store: EventStore) -> None:
        async with await store.stream_all_durable("consumer", on_interruption=self._interrupted) as batches:
            async for batch in batches:
                self._consumed[batch.lease_epoch].append(batch)
                ends = batch.event_records[0].event_type == _END
                if ends or self._chance.random() < 0.2:
                    await batches.acknowledge(batch)
                    self._acknowledged[batch.lease_epoch] = batch.last_sequence_number
                if ends:
                    return

    def _interrupted(self, failure: FactstrError | None) -> None:
        if failure is None:
            self.figures["streams of the Python client resumed"] += 1

    def check(self, log: Sequence[Batch]) -> None:
        """Each fact is there once, in the order sent; streams have no gap, and repeat what was not acknowledged."""
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for batch in log[:-1]:
            [fact] = batch.facts
            numbers[fact.event_type].append(json.loads(fact.payload)["number"])
        assert set(numbers) == {"appended", "piped", "counted"}
        for by, found in numbers.items():
            assert found == list(range(1, self._sent.get(by, len(found)) + 1)), f"{by}: {found}"
        followed = [_numbers(batch) for batch in self._followed]
        assert followed == [batch.numbers for batch in log], "the live stream is not the log"
        acknowledged = delivered = 0
        for epoch, batches in sorted(self._consumed.items()):
            found = [number for batch in batches for number in _numbers(batch)]
            assert acknowledged < found[0] <= delivered + 1, (
                f"{epoch}: {found[0]}, {acknowledged}, {delivered}"
            )
            assert found == list(range(found[0], found[-1] + 1)), f"{epoch}: {found}"
            acknowledged = max(acknowledged, self._acknowledged[epoch])
            delivered = max(delivered, found[-1])
        assert acknowledged == log[-1].last


def _numbers(batch: CommittedBatch) -> list[int]:
    return [record.sequence_number for record in batch.event_records]
