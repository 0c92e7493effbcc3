"""Appends: one event and a hundred a request, few and many callers, with and without idempotency keys.

Checked: the log holds what was acknowledged; a key used again for the same request is answered with the first result,
for another request refused, and both commit nothing.
"""

from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import grpc

from benchmarks.comparison import Variant, compared
from benchmarks.connection import Connection
from benchmarks.facts import Fact, FactSource
from benchmarks.ledger import Ledger, check
from benchmarks.results import Expectation, Result, Setting, Table, at_least
from benchmarks.scenarios.bench import bench
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

EVENTS_PER_APPEND = (1, 100)
PREPARED_EVENTS = 65_536
"""Requests are encoded before they are needed; after this many events they begin again."""
CHECKED_REPEATS = 50


async def run(setting: Setting) -> Result:
    result = Result("append")
    for events in EVENTS_PER_APPEND:
        for callers in setting.preset.callers:
            await _measure(setting, result, events, callers)
    result.expectations.extend(_expectations(result.tables))
    return result


async def _measure(setting: Setting, result: Result, events: int, callers: int) -> None:
    preset = setting.preset
    name = f"append-{events}-{callers}"
    async with bench(setting, name) as place:
        appends = Appends(place.connection, prepared_requests(setting.source, events))
        keyed = {"events": events, "callers": callers, "keys": True}
        rows, _ = await compared(
            [
                place.limit(callers, preset.seconds),
                Variant(
                    "append",
                    place.load(callers, preset.seconds, appends.append),
                    keyed | {"keys": False},
                    events,
                ),
                Variant(
                    "append with a key",
                    place.load(callers, preset.seconds, appends.append_keyed),
                    keyed,
                    events,
                ),
            ],
            preset.rounds,
            "rate",
        )
        result.tables.append(
            Table(f"Appends of {counted(events, 'event')}, {counted(callers, 'caller')}", "rate", rows)
        )
        repeats = await appends.check_repeats()
        result.checks.append(f"{name}: {await appends.ledger.check(place.connection)}; {repeats}")
        result.peak_memory_mib[name] = place.server.peak_memory_mib() or 0


class Request(NamedTuple):
    """An append, encoded, and its facts."""

    encoded: bytes
    facts: Sequence[Fact]


def prepared_requests(source: FactSource, events: int) -> list[Request]:
    """Appends of so many events each."""
    batches = [
        [source.fact(number) for number in range(first, first + events)]
        for first in range(0, PREPARED_EVENTS // (4 if events == 1 else 1), events)
    ]
    return [Request(append_request(batch), batch) for batch in batches]


class Appends:
    """Prepared requests, handed out in turn, and what became of them."""

    def __init__(
        self, connection: Connection, requests: Sequence[Request], ledger: Ledger | None = None
    ) -> None:
        """With the ledger of a log that others append to as well."""
        self._connection = connection
        self._requests = cycle(requests)
        self.ledger = ledger or Ledger()
        self._keyed: list[tuple[bytes, bytes]] = []

    async def append(self, _: int) -> None:
        request, facts = next(self._requests)
        self.ledger.acknowledged(await self._connection.append(request), partial(_same, facts))

    async def append_keyed(self, _: int) -> None:
        request, facts = next(self._requests)
        # Fields of a message may be joined after encoding.
        keyed = request + pb.AppendRequest(idempotency_key=f"append-{len(self._keyed)}").SerializeToString()
        place = len(self._keyed)
        self._keyed.append((keyed, b""))
        response = await self._connection.append(keyed)
        self._keyed[place] = (keyed, response)
        self.ledger.acknowledged(response, partial(_same, facts))

    async def check_repeats(self) -> str:
        step = max(1, len(self._keyed) // CHECKED_REPEATS)
        sample = list(islice(self._keyed, 0, None, step))
        for request, response in sample:
            first = pb.AppendResponse.FromString(response)
            again = pb.AppendResponse.FromString(await self._connection.append(request))
            check(again.repeated_request, "a repeat was not marked as one")
            again.repeated_request = False
            check(again == first, "a repeat was answered with another result than the first")
        other = pb.AppendRequest.FromString(sample[0][0])
        other.events[0].event_type += " otherwise"
        try:
            await self._connection.append(other.SerializeToString())
        except grpc.aio.AioRpcError as error:
            check(
                error.code() == grpc.StatusCode.ALREADY_EXISTS,
                f"a key used for another request was refused with {error.code()}",
            )
        else:
            check(False, "a key was accepted for another request")
        return f"{len(sample)} of {len(self._keyed):,} keyed appends repeated: same results, nothing added"


def append_request(facts: Sequence[Fact]) -> bytes:
    events = [event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload) for fact in facts]
    return pb.AppendRequest(events=events).SerializeToString()


def _same(facts: Sequence[Fact]) -> Sequence[Fact]:
    return facts


def _expectations(tables: list[Table]) -> list[Expectation]:
    rows = [row for table in tables for row in table.rows if row.parameters.get("keys") is False]
    most = max(row.parameters["callers"] for row in rows)
    hundreds = max(
        row.events_per_second.median
        for row in rows
        if row.events_per_second and row.parameters["events"] == 100
    )
    singles = next(
        row.ratio.median
        for row in rows
        if row.ratio and row.parameters["events"] == 1 and row.parameters["callers"] == most
    )
    return [
        at_least("appends of 100 events, best of all numbers of callers: events/s", hundreds, 60_000),
        at_least(f"single appends by {most} callers: of the empty unary call's rate", singles, 0.55),
    ]


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
