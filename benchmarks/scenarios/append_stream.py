"""Pipelined appends: eight streams over one connection, each with a window of single-event appends under way, packed.

Beside them single appends of 64 callers, FACTSTR's and UmaDB's, which has no pipeline. Checked: every item was answered
once, in the order sent, as committed; and the log holds what was acknowledged.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice, repeat
from time import perf_counter
from typing import Final

import grpc

from benchmarks.comparison import Variant, measured, ratios_of_rates, rows_of
from benchmarks.connection import Connection
from benchmarks.facts import Fact, FactSource, prepared_facts
from benchmarks.ledger import Ledger, check
from benchmarks.load import at_once
from benchmarks.peer import PEERS, peers
from benchmarks.results import Found, Result, Setting, Table
from benchmarks.scenarios.append import Appends, prepared_requests
from benchmarks.scenarios.bench import bench
from benchmarks.wanted import PIPELINED, of_peer
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

STREAMS: Final = 8
WINDOW: Final = 256
"""How many items of a stream may be unanswered. A message holds as many as are free when it is sent."""
CALLERS: Final = 64


async def run(setting: Setting) -> Result:
    result = Result("append_stream")
    seconds = setting.preset.seconds
    async with bench(setting, "append_stream") as place, peers(setting.folder) as others:
        ledger = Ledger()
        singles = Appends(place.connection, prepared_requests(setting.source, 1), ledger)
        items = PreparedItems(setting.source)
        streams = [Pipeline(place.connection, items, number) for number in range(STREAMS)]
        parameters = {"events": 1, "callers": CALLERS}
        pipelined = Variant(
            f"AppendStream, {STREAMS} streams",
            lambda: at_once(place.server, [stream.append for stream in streams], seconds),
            {"events": 1, "streams": STREAMS, "window": WINDOW},
            1,
        )
        variants = [
            place.limit(CALLERS, seconds),
            Variant("append", place.load(CALLERS, seconds, singles.append), parameters, 1),
            pipelined,
            *[await peer.appends(1, CALLERS, seconds) for peer in others],
        ]
        samples = await measured(variants, setting.preset.rounds)
        title = f"Single events, pipelined on {STREAMS} streams, beside calls of {CALLERS} callers"
        result.tables.append(Table(title, "rate", rows_of(variants, samples, "rate")))
        for peer in [peer for peer in PEERS if peer in samples]:
            ratio = ratios_of_rates(samples[pipelined.name], samples[peer])
            result.wanted[of_peer(PIPELINED, peer)] = Found(ratio)
        answered = sum(stream.account(ledger) for stream in streams)
        result.checks.append(
            f"{answered:,} items answered once, in the order sent; {await ledger.check(place.connection)}"
        )
        result.checks.extend([await peer.check() for peer in others])
        result.peak_memory_mib["append_stream"] = place.server.peak_memory_mib() or 0
    return result


class PreparedItems:
    """Items, encoded, and their facts. Which one it is stands in it as its correlation ID."""

    def __init__(self, source: FactSource) -> None:
        self.facts = [source.fact(number) for number in range(prepared_facts(1))]
        self._encoded = [_item(number, fact) for number, fact in enumerate(self.facts)]

    def message(self, first: int, count: int) -> bytes:
        """So many items from there on. A request is what its items are, one after the other."""
        begin = first % len(self._encoded)
        items = islice(chain(self._encoded[begin : begin + count], self._encoded), count)
        return b"".join(items)


class Pipeline:
    """A stream at a time, and what became of the items on it."""

    def __init__(self, connection: Connection, items: PreparedItems, number: int) -> None:
        self._connection = connection
        self._items = items
        self._first = self._next = number * len(items.facts) // STREAMS
        self._answers: list[bytes] = []

    async def append(self, end: float, latencies: "array[float]") -> None:
        """Until a time, and until everything sent is answered. A latency is an item's, from its sending on."""
        call = self._connection.append_stream()
        under_way: deque[tuple[float, int]] = deque()
        await self._send(call, WINDOW, under_way)
        ended = False
        while under_way:
            raw = await call.read()
            check(isinstance(raw, bytes), "a pipeline ended before all was answered")
            assert isinstance(raw, bytes)
            self._answers.append(raw)
            now = perf_counter()
            answered = len(pb.AppendStreamResponse.FromString(raw).outcomes)
            _note(answered, now, under_way, latencies)
            if now < end:
                await self._send(call, answered, under_way)
            elif not ended:
                ended = True
                await call.done_writing()
        check(await call.read() is grpc.aio.EOF, "a pipeline answered more than was sent")
        check(await call.code() == grpc.StatusCode.OK, "a pipeline did not end well")

    async def _send(
        self,
        call: grpc.aio.StreamStreamCall[bytes, bytes],
        count: int,
        under_way: deque[tuple[float, int]],
    ) -> None:
        message = self._items.message(self._next, count)
        self._next += count
        under_way.append((perf_counter(), count))
        await call.write(message)

    def account(self, ledger: Ledger) -> int:
        """Tells the ledger what was committed; how many items were answered."""
        expected, last = self._first, 0
        for raw in self._answers:
            for outcome in pb.AppendStreamResponse.FromString(raw).outcomes:
                item = expected % len(self._items.facts)
                check(
                    outcome.correlation_id == item,
                    f"item {outcome.correlation_id} was answered where {item} was next",
                )
                check(outcome.WhichOneof("outcome") == "committed", f"an item was refused: {outcome.failure}")
                first = outcome.committed.first_sequence_number
                check(first > last, f"an item was committed as {first}, the one before it as {last}")
                last = first
                fact = self._items.facts[item]
                ledger.acknowledged(outcome.committed.SerializeToString(), partial(_one, fact))
                expected += 1
        check(expected == self._next, f"{self._next - expected} items were not answered")
        return expected - self._first


def _note(answered: int, now: float, under_way: deque[tuple[float, int]], latencies: "array[float]") -> None:
    """Answers come in the order sent, but not in the same messages."""
    while answered:
        check(bool(under_way), "a pipeline answered more than was sent")
        sent, count = under_way.popleft()
        taken = min(count, answered)
        latencies.extend(repeat(now - sent, taken))
        answered -= taken
        if taken < count:
            under_way.appendleft((sent, count - taken))


def _item(number: int, fact: Fact) -> bytes:
    event = event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload)
    item = pb.AppendStreamItem(correlation_id=number, append=pb.AppendRequest(events=[event]))
    return pb.AppendStreamRequest(items=[item]).SerializeToString()


def _one(fact: Fact) -> Sequence[Fact]:
    return [fact]
