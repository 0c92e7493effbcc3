"""Appends: one event and a hundred a request, few and many callers, with and without idempotency keys; beside UmaDB and
beside rows that are inserted into SQLite without a server.

Checked: the log holds what was acknowledged; a key used again for the same request is answered with the first result,
for another request refused, and both commit nothing.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import grpc

from benchmarks.comparison import Parameter, Variant, measured, ratios_of_rates, rows_of
from benchmarks.connection import Connection
from benchmarks.facts import Fact, FactSource, prepared_facts
from benchmarks.ledger import Ledger, check
from benchmarks.load import Sample, many_at_once
from benchmarks.peer import PEERS, peers
from benchmarks.results import Expectation, Found, Result, Setting, Table, at_least
from benchmarks.scenarios.bench import Bench, bench
from benchmarks.sqlite_rows import RowInserts
from benchmarks.wanted import HUNDREDS, SINGLES, of_peer
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

COMPARED_CALLERS = {1: 64, 100: 8}
"""Of how many callers the appends of so many events are compared with what is wanted."""
ROWS_PER_TRANSACTION = {1: 1, 100: 800}
"""What one append holds, and what a group of them does when eight of a hundred come at once."""
CHECKED_REPEATS = 50


async def run(setting: Setting) -> Result:
    result = Result("append")
    for callers in setting.preset.single_callers:
        await _measure(setting, result, 1, callers)
    for callers in setting.preset.callers:
        await _measure(setting, result, 100, callers)
    result.expectations.extend(_expectations(result.tables))
    return result


async def _measure(setting: Setting, result: Result, events: int, callers: int) -> None:
    preset = setting.preset
    name = f"append-{events}-{callers}"
    is_wanted = callers == COMPARED_CALLERS[events]
    async with bench(setting, name) as place, peers(setting.folder) as others:
        appends = Appends(place.connection, prepared_requests(setting.source, events))
        inserts = _row_inserts(setting, name, events) if is_wanted else None
        append, keyed = _appends(place, appends, events, callers, preset.seconds)
        limited = [place.limit(callers, preset.seconds), append, keyed]
        beside = [append, *[await peer.appends(events, callers, preset.seconds) for peer in others]]
        if inserts:
            beside.append(_inserting(inserts, preset.seconds))
        rounds = preset.rounds if is_wanted else preset.other_rounds
        samples = await measured([*limited, *beside[1:]], rounds)
        title = f"Appends of {counted(events, 'event')}, {counted(callers, 'caller')}"
        result.tables.append(Table(title, "rate", rows_of(limited, samples, "rate")))
        if beside[1:]:
            rows = rows_of(beside, samples, "events")
            result.tables.append(Table(f"{title}, beside others", "events", rows, "FACTSTR's append"))
        if is_wanted:
            result.wanted.update(_wanted(events, samples))
        repeats = await appends.check_repeats()
        result.checks.append(f"{name}: {await appends.ledger.check(place.connection)}; {repeats}")
        result.checks.extend([f"{name}: {await peer.check()}" for peer in others])
        if inserts:
            result.checks.append(f"{name}: {inserts.check()}")
        result.peak_memory_mib[name] = place.server.peak_memory_mib() or 0


def _appends(
    place: Bench, appends: "Appends", events: int, callers: int, seconds: float
) -> tuple[Variant, Variant]:
    """Without keys, and with them."""
    parameters: dict[str, Parameter] = {"events": events, "callers": callers}
    return (
        Variant("append", place.load(callers, seconds, appends.append), parameters | {"keys": False}, events),
        Variant(
            "append with a key",
            place.load(callers, seconds, appends.append_keyed),
            parameters | {"keys": True},
            events,
        ),
    )


def _row_inserts(setting: Setting, name: str, events: int) -> RowInserts:
    """In a file that goes when the server's does."""
    facts = [setting.source.fact(number) for number in range(prepared_facts(events))]
    return RowInserts(setting.folder / f"{name}.db-rows", facts, ROWS_PER_TRANSACTION[events])


def _inserting(inserts: RowInserts, seconds: float) -> Variant:
    return Variant(
        f"SQLite alone, {counted(inserts.rows, 'row')} a transaction",
        lambda: many_at_once(inserts, 1, seconds, inserts.insert),
        {"callers": 1},
        inserts.rows,
    )


def _wanted(events: int, samples: Mapping[str, list[Sample]]) -> dict[str, Found]:
    if events == 1:
        return {SINGLES: Found(ratios_of_rates(samples["append"], samples["empty unary call"]))}
    return {
        of_peer(HUNDREDS, peer): Found(ratios_of_rates(samples["append"], samples[peer]))
        for peer in PEERS
        if peer in samples
    }


class Request(NamedTuple):
    """An append, encoded, and its facts."""

    encoded: bytes
    facts: Sequence[Fact]


def prepared_requests(source: FactSource, events: int, lap: int = 0) -> list[Request]:
    """Appends of so many events each. Those of another lap are about other cases."""
    begin = lap * len(source)
    batches = [
        [source.fact(begin + number) for number in range(first, first + events)]
        for first in range(0, prepared_facts(events), events)
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
    hundreds = max(
        row.events_per_second.median
        for row in rows
        if row.events_per_second and row.parameters["events"] == 100
    )
    singles = next(
        row.ratio.median
        for row in rows
        if row.ratio and row.parameters["events"] == 1 and row.parameters["callers"] == COMPARED_CALLERS[1]
    )
    return [
        at_least("appends of 100 events, best of all numbers of callers: events/s", hundreds, 60_000),
        at_least(
            f"single appends by {COMPARED_CALLERS[1]} callers: of the empty unary call's rate", singles, 0.55
        ),
    ]


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
