"""FACTSTR through its own Python client, as most programs meet it: what it costs above the calls that it makes.

All else on FACTSTR is measured with requests that were encoded beforehand and answers that are hardly looked at. Here
one thread of another process uses `factstr`: single events one after the other, and through appenders; a replay; and
the command `factstr import`. Checked: the log holds exactly what each of them was told, and replays bring its facts.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from benchmarks.comparison import Spread, in_turn
from benchmarks.connection import connected
from benchmarks.facts import Fact, prepared_facts
from benchmarks.ledger import Ledger, check
from benchmarks.processes import ServerProcess, factstr_server
from benchmarks.results import FigureRow, FigureTable, Result, Setting
from benchmarks.workers import Worker, printed, worker
from factstr.v1 import event_store_service_pb2 as pb

_APPENDS: Final = {
    "store.append, one after the other": "append",
    "store.appender()": "pipeline",
    "the same of factstr.aio": "pipeline_aio",
}
_REPLAYS: Final = {
    "messages parsed, without the client": "parse",
    "store.stream_all": "stream",
}


class _Measured(NamedTuple):
    """What one way did in one round."""

    events: int
    seconds: float
    client_cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


_Rounds = Mapping[str, Sequence[_Measured]]


async def run(setting: Setting) -> Result:
    result = Result("python_client")
    facts, rounds = setting.preset.client_facts, setting.preset.other_rounds
    async with (
        factstr_server(setting.folder / "python_client.db") as server,
        connected(server.address) as connection,
        worker("benchmarks.python_client", server.address) as client,
    ):
        place = _Place(setting, server, client)
        result.figures.append(await place.imports(facts, rounds))
        replays = await _measured(_REPLAYS, partial(place.replay, facts), rounds)
        appends = await _measured(_APPENDS, partial(place.appends, setting.preset.seconds), rounds)
        result.figures.append(_table("Single events, one thread", "event", appends))
        result.figures.append(_table(f"A replay of {facts:,} facts, every one looked at", "fact", replays))
        result.checks.append(await place.ledger.check(connection))
        result.checks.append(f"every replay brought the first {facts:,} facts, in order and equal")
        result.peak_memory_mib["python_client"] = server.peak_memory_mib() or 0
    return result


class _Place:
    """A server, its client, and what was acknowledged."""

    def __init__(self, setting: Setting, server: ServerProcess, client: Worker) -> None:
        self.ledger = Ledger()
        self._setting = setting
        self._server = server
        self._client = client

    async def imports(self, facts: int, rounds: int) -> FigureTable:
        """Fills the empty log, with the same facts each time."""
        file = self._setting.folder / "facts.ndjson"
        batch = self._facts(facts)
        file.write_text("".join(f"{_line(fact)}\n" for fact in batch), encoding="utf-8")
        figures: dict[str, list[float]] = defaultdict(list)
        for _, counted in in_turn([file], rounds):
            cpu = self._server.cpu_seconds()
            summary = json.loads(
                await printed("factstr", "import", "--target", self._server.address, str(file))
            )
            cpu = self._server.cpu_seconds() - cpu
            check(summary["new"] == facts, f"an import of {facts} facts says that {summary['new']} are new")
            first, last = summary["first_sequence_number"], summary["last_sequence_number"]
            self._acknowledge(first, last, lambda: batch)
            if counted:
                figures["events/s"].append(facts / summary["seconds"])
                figures["server CPU µs/event"].append(cpu / facts * 1e6)
        return FigureTable(
            f"`factstr import` of {facts:,} facts",
            [FigureRow("factstr import", {name: Spread.of(each) for name, each in figures.items()})],
            ["from the opening of the file to the last answer, as the command itself tells; not its start"],
        )

    async def appends(self, seconds: float, way: str) -> _Measured:
        cpu = self._server.cpu_seconds()
        answer = await self._client.ask(way, seconds=seconds)
        acknowledged = answer["acknowledged"]
        for number, place in enumerate(acknowledged):
            self._acknowledge(place, place, partial(self._one, number))
        return self._read(answer, len(acknowledged), cpu)

    async def replay(self, facts: int, way: str) -> _Measured:
        cpu = self._server.cpu_seconds()
        return self._read(await self._client.ask(way, facts=facts), facts, cpu)

    def _read(self, answer: Mapping[str, Any], events: int, cpu_before: float) -> _Measured:
        used = self._server.cpu_seconds() - cpu_before
        return _Measured(events, answer["seconds"], answer["cpu_seconds"], used)

    def _acknowledge(self, first: int, last: int, facts: Callable[[], Sequence[Fact]]) -> None:
        response = pb.AppendResponse(
            first_sequence_number=first, last_sequence_number=last, committed_count=last - first + 1
        )
        self.ledger.acknowledged(response.SerializeToString(), facts)

    def _facts(self, facts: int) -> Sequence[Fact]:
        return [self._setting.source.fact(number) for number in range(facts)]

    def _one(self, number: int) -> Sequence[Fact]:
        return [self._setting.source.fact(number % prepared_facts(1))]


async def _measured(
    ways: Mapping[str, str], measure: Callable[[str], Awaitable[_Measured]], rounds: int
) -> _Rounds:
    """By name; each way once a round."""
    measured: dict[str, list[_Measured]] = {name: [] for name in ways}
    for name, counted in in_turn(list(ways), rounds):
        one = await measure(ways[name])
        if counted:
            measured[name].append(one)
    return measured


def _table(title: str, what: str, measured: _Rounds) -> FigureTable:
    """The others are compared with the first."""
    first, limit = next(iter(measured.items()))
    rows = [
        FigureRow(
            name,
            {
                f"{what}s/s": Spread.of(one.rate for one in own),
                f"of the rate of: {first}": Spread.of(
                    one.rate / other.rate for one, other in zip(own, limit, strict=True)
                ),
                f"client CPU µs/{what}": Spread.of(one.client_cpu / one.events * 1e6 for one in own),
                f"server CPU µs/{what}": Spread.of(one.server_cpu / one.events * 1e6 for one in own),
            },
        )
        for name, own in measured.items()
    ]
    return FigureTable(title, rows)


def _line(fact: Fact) -> str:
    return f'{{"event_type":{json.dumps(fact.event_type)},"payload":{fact.payload}}}'
