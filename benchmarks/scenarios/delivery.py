"""From an append to its delivery, to one subscriber and to many, while little is appended.

Two clocks begin: when the append is sent, and when its answer is there (which is after its commit, and may be after a
delivery: then the latency is below zero). The limit is a server without a log, whose one call hands its bytes to all
who follow. Checked: every subscriber was brought every batch once, in order.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import count
from time import perf_counter

from benchmarks.comparison import Spread, in_turn
from benchmarks.connection import FOLLOW, STREAM_ALL, Connection, connected
from benchmarks.processes import ServerProcess, empty_server, factstr_server
from benchmarks.results import FigureRow, FigureTable, Result, Setting
from benchmarks.scenarios.append import append_request
from benchmarks.stream_facts import stream_fact
from benchmarks.stream_ledger import StreamLedger
from benchmarks.workers import Worker, worker
from factstr.v1 import event_store_service_pb2 as pb

SUBSCRIBERS_PER_CONNECTION = 100
PAUSE_SECONDS = 0.02
"""Between an answer and the next append; with more subscribers as much longer as their deliveries take."""
PAUSE_PER_SUBSCRIBER = 0.0003


async def run(setting: Setting) -> Result:
    result = Result("delivery")
    for subscribers in setting.preset.streams.subscribers:
        await _measure(setting, result, subscribers)
    return result


async def _measure(setting: Setting, result: Result, subscribers: int) -> None:
    name = f"{subscribers:,} subscriber{'s' * (subscribers > 1)}"
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            factstr_server(setting.folder / f"delivery-{subscribers}.db")
        )
        empty = await stack.enter_async_context(empty_server(setting.folder))
        kinds = []
        for kind, process in ((_Relayed, empty), (_Delivered, server)):
            connection = await stack.enter_async_context(connected(process.address))
            client = await stack.enter_async_context(worker())
            kinds.append(kind(process, connection, client, subscribers))
        for measured in kinds:
            await measured.subscribe()
        for measured, counted in in_turn(kinds, setting.preset.other_rounds):
            await measured.round(setting.preset.streams.deliveries, counted=counted)
        result.figures.append(
            FigureTable(
                f"One fact to {name}",
                [FigureRow(measured.name, measured.figures(kinds[0])) for measured in kinds],
                ["ms; medians of the rounds; `last` is the last subscriber of each append"],
                {"subscribers": subscribers},
            )
        )
        result.checks.append(
            f"{name}: {kinds[1].ledger.head:,} batches, each delivered once to each, in order"
        )
        result.peak_memory_mib[name] = server.peak_memory_mib() or 0


class _Delivered:
    """Appends, and their deliveries to subscribers of everything."""

    name = "append, delivered"
    method = STREAM_ALL
    request = pb.StreamAllRequest().SerializeToString()

    def __init__(
        self, server: ServerProcess, connection: Connection, client: Worker, subscribers: int
    ) -> None:
        self.ledger = StreamLedger()
        self._server = server
        self._connection = connection
        self._client = client
        self._subscribers = subscribers
        self._numbers = count()
        self._rounds: list[Mapping[str, float]] = []

    async def subscribe(self) -> None:
        await self._client.ask(
            "subscribe",
            name=self.name,
            address=self._server.address,
            method=self.method,
            requests=[self.request.hex()] * self._subscribers,
            connections=-(-self._subscribers // SUBSCRIBERS_PER_CONNECTION),
        )

    async def round(self, appends: int, *, counted: bool) -> None:
        sent: dict[int, float] = {}
        answered: dict[int, float] = {}
        for _ in range(appends):
            number = next(self._numbers)
            request = append_request([stream_fact(number)])
            begin = perf_counter()
            first = await self._send(number, request)
            answered[first] = perf_counter()
            sent[first] = begin
            await asyncio.sleep(PAUSE_SECONDS + PAUSE_PER_SUBSCRIBER * self._subscribers)
        await self._client.ask(
            "settle", name=self.name, expected=self.ledger.of_everything(self._subscribers)
        )
        since_sent = await self._client.ask("latencies", name=self.name, since=sent)
        if counted:
            every, last = since_sent["every"], since_sent["last"]
            own = {first: answered[first] - sent[first] for first in sent}
            after_answer = [late - own[first] for first, late in zip(sent, last, strict=True)]
            self._rounds.append(
                {
                    "answer p50": _quantile(own.values(), 0.5),
                    "sent to delivery p50": _quantile(every, 0.5),
                    "sent to delivery p99": _quantile(every, 0.99),
                    "sent to last p50": _quantile(last, 0.5),
                    "sent to last p99": _quantile(last, 0.99),
                    "answer to last p50": _quantile(after_answer, 0.5),
                    "answer to last p99": _quantile(after_answer, 0.99),
                }
            )

    async def _send(self, number: int, request: bytes) -> int:
        response = await self._connection.append(request)
        self.ledger.acknowledged(response, range(number, number + 1))
        return pb.AppendResponse.FromString(response).first_sequence_number

    def figures(self, limit: "_Delivered") -> dict[str, Spread]:
        figures = {name: Spread.of(one[name] for one in self._rounds) for name in self._rounds[0]}
        ratios = zip(self._rounds, limit._rounds, strict=True)  # noqa: SLF001
        return figures | {
            "sent to last p50, times the limit's": Spread.of(
                own["sent to last p50"] / other["sent to last p50"] for own, other in ratios
            )
        }


class _Relayed(_Delivered):
    """The limit: the same bytes, handed on without a log."""

    name = "relayed without a log"
    method = FOLLOW
    request = b""

    async def _send(self, number: int, request: bytes) -> int:
        """Makes the message that FACTSTR would deliver."""
        sequence_number = number + 1
        fact = stream_fact(number)
        record = pb.CommittedBatch(
            first_sequence_number=sequence_number, last_sequence_number=sequence_number
        )
        record.event_records.add(
            sequence_number=sequence_number, event_type=fact.event_type, payload=fact.payload
        )
        message = pb.StreamResponse(batches=pb.CommittedBatches(batches=[record]))
        await self._connection.publish(message.SerializeToString())
        response = pb.AppendResponse(
            first_sequence_number=sequence_number, last_sequence_number=sequence_number, committed_count=1
        )
        self.ledger.acknowledged(response.SerializeToString(), range(number, number + 1))
        return sequence_number


def _quantile(values: Iterable[float], share: float) -> float:
    """In milliseconds."""
    ordered: Sequence[float] = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
