"""Appends beside filtered subscribers, each of which waits for one fact in a thousand.

Checked: every subscriber was brought exactly the facts of its subject, in order, with the range of their commit; and
the log, with subscribers and without, holds what was acknowledged.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import count
from time import perf_counter
from typing import NamedTuple

from benchmarks.comparison import Row, Variant, compared
from benchmarks.connection import STREAM_TO, Connection, connected
from benchmarks.load import Sample, many_at_once
from benchmarks.processes import ServerProcess, factstr_server
from benchmarks.results import Expectation, Result, Setting, Table, at_least
from benchmarks.scenarios.append import append_request
from benchmarks.stream_facts import SUBJECTS, stream_fact, subject_query
from benchmarks.stream_ledger import StreamLedger
from benchmarks.workers import Worker, worker
from factstr.v1 import event_store_service_pb2 as pb

CONNECTIONS = 10
MOST_SECONDS = 1.0
_PREPARED_FACTS = 20_000


class _Load(NamedTuple):
    """Who appends how much."""

    name: str
    callers: int
    events: int


_LOADS = (_Load("single facts, 64 callers", 64, 1), _Load("batches of 100, 8 callers", 8, 100))


async def run(setting: Setting) -> Result:
    result = Result("filtered")
    sizes = setting.preset.streams
    names = {
        "no subscriber": None,
        f"{sizes.filtered:,} subscribers, one subject each": False,
        f"{sizes.filtered:,} subscribers, subject and a member that all share": True,
    }
    async with AsyncExitStack() as stack:
        places = []
        for number, (name, shared) in enumerate(names.items()):
            server = await stack.enter_async_context(factstr_server(setting.folder / f"filtered-{number}.db"))
            connection = await stack.enter_async_context(connected(server.address))
            client = await stack.enter_async_context(worker())
            place = _Place(name, server, connection, client, 0 if shared is None else sizes.filtered)
            await place.subscribe(shared_member=bool(shared))
            places.append(place)
        for load in _LOADS:
            appended = [_Appends(place, load, setting.preset.seconds) for place in places]
            rows, _ = await compared(
                [
                    Variant(appends.place.name, appends.measure, load._asdict(), load.events)
                    for appends in appended
                ],
                setting.preset.other_rounds,
                "rate",
            )
            for appends, row in zip(appended, rows, strict=True):
                row.extra["ms_until_all_is_delivered"] = max(appends.settle_seconds) * 1000
            result.tables.append(Table(f"Appends of {load.name}", "rate", rows, places[0].name))
            result.expectations.extend(_expectations(load, rows[1:]))
        for place in places:
            await place.check()
            result.peak_memory_mib[place.name] = place.server.peak_memory_mib() or 0
            result.checks.append(
                f"{place.name}: {place.ledger.head:,} facts read back as they were acknowledged, each delivered "
                "exactly to whom it matches"
            )
    return result


class _Place:
    """A server, its subscribers in a process of their own, and what was appended."""

    def __init__(
        self, name: str, server: ServerProcess, connection: Connection, client: Worker, subscribers: int
    ) -> None:
        self.name = name
        self.server = server
        self.connection = connection
        self.ledger = StreamLedger()
        self._client = client
        self._subscribers = subscribers

    async def subscribe(self, *, shared_member: bool) -> None:
        queries = [subject_query(number, shared_member=shared_member) for number in range(self._subscribers)]
        await self._client.ask(
            "subscribe",
            name=self.name,
            address=self.server.address,
            method=STREAM_TO,
            requests=[pb.StreamToRequest(query=query).SerializeToString().hex() for query in queries],
            connections=min(CONNECTIONS, self._subscribers),
        )

    async def settle(self) -> float:
        """Waits until everything is delivered, and checks it; when the last batch came."""
        expected = self.ledger.of_subjects(self._subscribers)
        if not expected:
            return 0
        answer = await self._client.ask("settle", name=self.name, expected=expected)
        return float(answer["last_arrival"])

    async def check(self) -> None:
        """One more fact of each subject comes after whatever a subscriber was brought that it should not have been."""
        numbers = range(SUBJECTS)
        response = await self.connection.append(append_request(list(map(stream_fact, numbers))))
        self.ledger.acknowledged(response, numbers)
        await self.settle()
        await self.ledger.check(self.connection)


class _Appends:
    """Requests that are handed out in turn, and how long their deliveries took after the last answer."""

    def __init__(self, place: _Place, load: _Load, seconds: float) -> None:
        self.place = place
        self.settle_seconds: list[float] = []
        self._load = load
        self._seconds = min(seconds, MOST_SECONDS)
        self._firsts = count(0, load.events)
        self._requests = [
            append_request([stream_fact(number) for number in range(first, first + load.events)])
            for first in range(0, _PREPARED_FACTS, load.events)
        ]

    async def measure(self) -> Sample:
        sample = await many_at_once(self.place.server, self._load.callers, self._seconds, self._append)
        answered = perf_counter()
        self.settle_seconds.append(max(await self.place.settle() - answered, 0))
        return sample

    async def _append(self, _: int) -> None:
        first = next(self._firsts) % _PREPARED_FACTS
        request = self._requests[first // self._load.events]
        response = await self.place.connection.append(request)
        self.place.ledger.acknowledged(response, range(first, first + self._load.events))


def _expectations(load: _Load, rows: Sequence[Row]) -> list[Expectation]:
    return [
        at_least(f"{load.name}, {row.name}: of the rate without", row.ratio.median, 0.5)
        for row in rows
        if row.ratio
    ]
