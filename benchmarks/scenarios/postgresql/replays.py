"""Replays of large logs, whole and filtered: what half of the log belongs to must take half as long, not longer.

The first replay of each kind is compared with the log fact by fact, the later ones with the first one's bytes.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Final, NamedTuple

from benchmarks.comparison import Spread, in_turn
from benchmarks.facts import COMMON_MEMBER, Fact
from benchmarks.ledger import check
from benchmarks.replay_check import frames_digest, says_caught_up
from benchmarks.results import FigureRow, FigureTable, Result, Setting
from benchmarks.scenarios.postgresql.large_logs import LargeLog
from benchmarks.scenarios.postgresql.lookups import HALF
from factstr.v1 import event_store_service_pb2 as pb

_EVERYTHING: Final = pb.StreamAllRequest(after_sequence_number=0).SerializeToString()
_HALF: Final = pb.StreamToRequest(query=HALF, after_sequence_number=0).SerializeToString()


class _Measured(NamedTuple):
    facts: int
    seconds: float
    server_cpu: float


class _Replays:
    """One kind of replay of one log."""

    def __init__(self, log: LargeLog, *, filtered: bool) -> None:
        self.log = log
        self.filtered = filtered
        self.name = "half of the log" if filtered else "everything"
        self.samples: list[_Measured] = []
        self._digest: int | None = None

    async def replay(self, *, counted: bool) -> None:
        connection, server = self.log.connection, self.log.server
        call = connection.stream_to(_HALF) if self.filtered else connection.stream_all(_EVERYTHING)
        received: list[bytes] = []
        cpu, begin = server.cpu_seconds(), perf_counter()
        async for raw in call:
            received.append(raw)
            if says_caught_up(raw):
                break
        seconds, cpu = perf_counter() - begin, server.cpu_seconds() - cpu
        call.cancel()
        self._check(received)
        if counted:
            facts = self.log.common if self.filtered else self.log.size
            self.samples.append(_Measured(facts, seconds, cpu))

    def _check(self, received: list[bytes]) -> None:
        digest = frames_digest(received)
        if self._digest is None:
            self._compare(received)
            self._digest = digest
        check(digest == self._digest, f"two replays of {self.name} are not the same")

    def _compare(self, received: list[bytes]) -> None:
        expected = self._expected()
        for raw in received[1:-1]:
            message = pb.StreamResponse.FromString(raw)
            check(message.WhichOneof("content") == "batches", "a replay was interrupted")
            for batch in message.batches.batches:
                [record] = batch.event_records
                number = record.sequence_number
                check(
                    (number, Fact(record.event_type, record.payload)) == next(expected, None)
                    and (batch.first_sequence_number, batch.last_sequence_number) == (number, number),
                    f"a replay of {self.name} brought {number}, or not as it was committed",
                )
        check(next(expected, None) is None, f"a replay of {self.name} left facts out")

    def _expected(self) -> Iterator[tuple[int, Fact]]:
        for position in range(self.log.size):
            [fact] = self.log.log.facts(range(position, position + 1))
            if not self.filtered or COMMON_MEMBER in fact.payload:
                yield position + 1, fact


async def measure(setting: Setting, logs: Sequence[LargeLog], result: Result) -> None:
    replays = [_Replays(log, filtered=filtered) for filtered in (False, True) for log in logs]
    for each, counted in in_turn(replays, setting.preset.rounds):
        await each.replay(counted=counted)
    by_kind = defaultdict(list)
    for each in replays:
        by_kind[each.name].append(each)
    result.figures.append(
        FigureTable(
            "Replays of large logs",
            [FigureRow(name, _figures(of_kind)) for name, of_kind in by_kind.items()],
            ["delivered facts a second, received and not parsed; CPU of the server, without PostgreSQL's"],
        )
    )
    result.checks.append(
        "every replay brought each fact that it should, once, in order, equal to what was committed"
    )


def _figures(replays: Sequence[_Replays]) -> dict[str, Spread]:
    figures = {}
    for each in replays:
        figures[f"facts/s, {each.log.size:,} facts"] = Spread.of(_rate(sample) for sample in each.samples)
    figures["of the smaller log's rate"] = Spread.of(
        _rate(large) / _rate(small)
        for large, small in zip(replays[-1].samples, replays[0].samples, strict=True)
    )
    figures["server CPU µs/fact"] = Spread.of(
        sample.server_cpu / sample.facts * 1e6 for sample in replays[-1].samples
    )
    return figures


def _rate(sample: _Measured) -> float:
    return sample.facts / sample.seconds
