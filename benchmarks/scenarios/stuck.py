"""Appends beside subscribers that do not read, and ten that do: nobody waits for the stuck ones, and memory stays flat.

The stuck ones have connections of their own, of which none is given more room while it is not read from, and stop after
`started`. In the first case they stall on ordinary batches, which come before the first large one.
In the second, the worst, each of them is at the head when a batch of 3 MiB is committed: gRPC then holds that message
for every one of them, and what that costs is told. Checked: the readers were brought every batch, once, in order.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import count
from time import perf_counter
from typing import NamedTuple

from benchmarks.comparison import Spread
from benchmarks.connection import STREAM_ALL, Connection, connected
from benchmarks.facts import Fact
from benchmarks.processes import ServerProcess, factstr_server
from benchmarks.results import FigureRow, FigureTable, Result, Setting, at_least, at_most
from benchmarks.scenarios.append import append_request
from benchmarks.stream_facts import large_fact, stream_fact
from benchmarks.stream_ledger import StreamLedger
from benchmarks.workers import Worker, worker
from factstr.v1 import event_store_service_pb2 as pb

READERS = 10
CALLERS = 4
EVENTS = 100
LARGE_BYTES = 3_000_000
ORDINARY_BEFORE_LARGE = 100
"""Of so many appends one is large."""
FLAT_MIB_PER_STREAM = 1.0
"""What a stuck stream may cost: its call, its connection, and a message or two."""


class _Case(NamedTuple):
    """How many do not read, and what they stall on."""

    name: str
    stuck: int
    large_first: bool = False


async def run(setting: Setting) -> Result:
    sizes = setting.preset.streams
    cases = [
        _Case("readers alone", 0),
        _Case(f"{sizes.stuck} stuck on ordinary batches", sizes.stuck),
        _Case(f"{sizes.large_stuck} stuck on 3 MiB each", sizes.large_stuck, large_first=True),
    ]
    result = Result("stuck")
    rows = []
    for number, case in enumerate(cases):
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(factstr_server(setting.folder / f"stuck-{number}.db"))
            connection = await stack.enter_async_context(connected(server.address))
            clients = [await stack.enter_async_context(worker()) for _ in range(2)]
            measured = _Measured(case, server, connection, clients[0], clients[1])
            rows.append(FigureRow(case.name, await measured.figures(sizes.stuck_facts)))
            result.checks.append(
                f"{case.name}: {measured.ledger.head:,} facts, {measured.large} of them of 3 MB, delivered once and in "
                f"order to {READERS} readers"
            )
            result.peak_memory_mib[case.name] = server.peak_memory_mib() or 0
    result.figures.append(
        FigureTable(
            f"{sizes.stuck_facts:,} facts beside subscribers that do not read",
            rows,
            ["memory in MiB, resident: before the stuck came, the most during the appends, after they left"],
        )
    )
    alone, stuck = rows[0].figures, rows[1].figures
    per_stream = (stuck["most"].median - alone["most"].median) / sizes.stuck
    result.expectations.append(at_most("MiB more for each stuck subscriber", per_stream, FLAT_MIB_PER_STREAM))
    rate = stuck["facts/s"].median / alone["facts/s"].median
    result.expectations.append(at_least("append rate, of that beside readers alone", rate, 0.5))
    return result


class _Measured:
    """One case on a log of its own."""

    def __init__(
        self, case: _Case, server: ServerProcess, connection: Connection, readers: Worker, stuck: Worker
    ) -> None:
        self.ledger = StreamLedger()
        self.large = 0
        self._case = case
        self._server = server
        self._connection = connection
        self._readers = readers
        self._stuck = stuck
        self._most = 0.0

    async def figures(self, facts: int) -> dict[str, Spread]:
        await self._subscribe(self._readers, READERS, reading=True)
        before = self._memory()
        if self._case.stuck:
            await self._subscribe(self._stuck, self._case.stuck, reading=False)
        subscribed = self._memory()
        watching = asyncio.create_task(self._watch())
        # Whatever ends this block, the server's memory is not looked at afterwards.
        try:
            seconds, lag = await self._appended(facts)
        finally:
            watching.cancel()
        at_end = self._memory()
        if self._case.stuck:
            await self._stuck.ask("unsubscribe", name="streams")
            await asyncio.sleep(1)
        figures = {
            "facts/s": facts / seconds,
            "ms until the readers had all": lag * 1000,
            "before": before,
            "subscribed": subscribed,
            "most": max(self._most, at_end),
            "at the end": at_end,
            "after they left": self._memory(),
        }
        return {name: Spread(value, value, value) for name, value in figures.items()}

    async def _appended(self, facts: int) -> tuple[float, float]:
        """Appends everything and waits for the readers: how long the appends took, and how much longer the readers."""
        if self._case.large_first:
            await self._append_large(facts)
        begin = perf_counter()
        await self._append_all(facts)
        seconds = perf_counter() - begin
        expected = self.ledger.of_everything(READERS)
        answer = await self._readers.ask("settle", name="streams", expected=expected)
        return seconds, max(answer["last_arrival"] - begin - seconds, 0)

    async def _subscribe(self, client: Worker, streams: int, *, reading: bool) -> None:
        await client.ask(
            "subscribe",
            name="streams",
            address=self._server.address,
            method=STREAM_ALL,
            requests=[pb.StreamAllRequest().SerializeToString().hex()] * streams,
            connections=streams,
            reading=reading,
            at_once=True,
        )

    async def _append_all(self, facts: int) -> None:
        firsts = count(0, EVENTS)

        async def appender() -> None:
            while (first := next(firsts)) < facts:
                numbers = range(first, min(first + EVENTS, facts))
                request = append_request([stream_fact(number) for number in numbers])
                self.ledger.acknowledged(await self._connection.append(request), numbers)
                if first // EVENTS % ORDINARY_BEFORE_LARGE == ORDINARY_BEFORE_LARGE - 1:
                    await self._append_large(facts + first)

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(appender())

    async def _append_large(self, number: int) -> None:
        numbers = range(number, number + 1)
        request = append_request(list(_large_facts(numbers)))
        self.ledger.acknowledged(await self._connection.append(request), numbers, _large_facts)
        self.large += 1

    def _memory(self) -> float:
        return self._server.memory_mib() or 0

    async def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._memory())
            await asyncio.sleep(0.05)


def _large_facts(numbers: range) -> Iterable[Fact]:
    return [large_fact(number, LARGE_BYTES) for number in numbers]
