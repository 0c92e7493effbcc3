"""Replays: a whole log from SQLite to one client that receives and parses messages, and one fact in ten of it.

Checked: every replay brought every fact once, in order, in its batch, with its type and payload. The limit is a server
that sends the same messages from memory, where they lie ready. Beside them UmaDB's client reads the same facts.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.comparison import Spread
from benchmarks.connection import RECORDED, STREAM_ALL, STREAM_TO
from benchmarks.peer import Peer, peers
from benchmarks.processes import ServerProcess, empty_server, factstr_server, sqlite_url
from benchmarks.results import Expectation, FigureRow, FigureTable, Found, Result, Setting, at_least
from benchmarks.stream_facts import GROUPS, PLANS, group_query
from benchmarks.wanted import REPLAY, of_peer
from benchmarks.workers import Worker, filled, worker
from factstr.v1 import event_store_service_pb2 as pb

GROUP = 3
REQUIRED = 1_500_000
_EVERYTHING = pb.StreamAllRequest(after_sequence_number=0).SerializeToString()
_ONE_IN_TEN = pb.StreamToRequest(query=group_query(GROUP), after_sequence_number=0).SerializeToString()


class _Kind(NamedTuple):
    """One way to replay a log."""

    name: str
    ready: bool = False
    """From the server that has the messages ready."""
    parse: bool = True
    look: bool = False
    """At each fact's number, type and payload, which makes values of Python of them."""
    group: int | None = None


LOOKED_AT = _Kind("replay, every fact looked at", look=True)
"""What UmaDB's client gives its reader."""
_KINDS = (
    _Kind("ready messages, parsed", ready=True),
    _Kind("ready messages, received", ready=True, parse=False),
    _Kind("replay, parsed"),
    LOOKED_AT,
    _Kind("replay, received", parse=False),
    _Kind("one fact in ten, parsed", group=GROUP),
)


class _Measured(NamedTuple):
    """One replay."""

    seconds: float
    server_cpu: float
    client_cpu: float


async def run(setting: Setting) -> Result:
    result = Result("replay")
    async with worker() as client, empty_server(setting.folder) as ready, peers(setting.folder) as others:
        databases = {plan: setting.folder / f"replay-{number}.db" for number, plan in enumerate(PLANS)}
        facts = setting.preset.streams.replayed_facts
        async with asyncio.TaskGroup() as group:
            for plan, database in databases.items():
                group.create_task(filled(sqlite_url(database), plan, facts))
        for peer in others:
            await peer.fill(facts)
            result.checks.append(await peer.check())
        async with AsyncExitStack() as stack:
            logs = []
            for plan, database in databases.items():
                server = await stack.enter_async_context(factstr_server(database))
                recorded = database.with_suffix(".messages")
                logs.append(_Log(plan, facts, recorded, client, server=server, ready=ready, peers=others))
            for log in logs:
                await log.record()
            for number in range(setting.preset.rounds):
                for log in logs:
                    await log.measure_all(backwards=bool(number % 2))
            for log in logs:
                result.figures.append(log.table())
                result.expectations.extend(log.expectations())
                result.peak_memory_mib[log.plan] = log.server.peak_memory_mib() or 0
            for peer in others:
                # Where it is slowest.
                ratios = [log.times_the_rate(peer.name) for log in logs]
                result.wanted[of_peer(REPLAY, peer.name)] = Found(min(ratios))
    result.checks.append(
        f"every replay of {facts:,} facts, and of one in {GROUPS}, brought each fact once, in order, in its batch, "
        "equal to what was committed"
    )
    return result


async def _read(peer: Peer) -> _Measured:
    read = await peer.read()
    return _Measured(read.seconds, read.server_cpu_seconds, read.load_cpu_seconds)


class _Log:
    """A log, the server that replays it, and the replays so far."""

    def __init__(
        self,
        plan: str,
        facts: int,
        recorded: Path,
        client: Worker,
        *,
        server: ServerProcess,
        ready: ServerProcess,
        peers: Sequence[Peer],
    ) -> None:
        self.plan = plan
        self.server = server
        self._facts = facts
        self._recorded = recorded
        self._client = client
        self._ready = ready
        self._peers = peers
        self._samples: defaultdict[str, list[_Measured]] = defaultdict(list)

    async def record(self) -> None:
        """Keeps the messages of a replay for the limit, and warms all kinds up."""
        await self._replay(_Kind("record"), record=str(self._recorded))
        await self.measure_all()
        self._samples.clear()

    async def measure_all(self, *, backwards: bool = False) -> None:
        """Each kind and each peer once."""
        readers: list[_Kind | Peer] = [*_KINDS, *self._peers]
        for reader in reversed(readers) if backwards else readers:
            measured = await (self._replay(reader) if isinstance(reader, _Kind) else _read(reader))
            self._samples[reader.name].append(measured)

    async def _replay(self, kind: _Kind, record: str | None = None) -> _Measured:
        server = self._ready if kind.ready else self.server
        if kind.ready:
            method, request = RECORDED, str(self._recorded).encode()
        elif kind.group is None:
            method, request = STREAM_ALL, _EVERYTHING
        else:
            method, request = STREAM_TO, _ONE_IN_TEN
        cpu = server.cpu_seconds()
        answer = await self._client.ask(
            "replay",
            address=server.address,
            method=method,
            request=request.hex(),
            parse=kind.parse,
            look=kind.look,
            log={"plan": self.plan, "facts": self._facts, "group": kind.group},
            record=record,
        )
        return _Measured(answer["seconds"], server.cpu_seconds() - cpu, answer["cpu_seconds"])

    def table(self) -> FigureTable:
        return FigureTable(
            f"Replay of {self._facts:,} facts in {self.plan}",
            [
                *(FigureRow(kind.name, self._figures(kind.name) | self._ratios(kind)) for kind in _KINDS),
                *(
                    FigureRow(f"{peer.name}, read", self._figures(peer.name) | self._ratios_of(peer.name))
                    for peer in self._peers
                ),
            ],
            [
                "facts of the log per second; of the filtered stream those that it looks through: no ratio",
                "busy: a core's share of the time that the server and the client took; the one near 1 bounds the rate",
            ],
        )

    def _figures(self, name: str) -> dict[str, Spread]:
        samples = self._samples[name]
        return {
            "facts/s": self.rate(name),
            "facts per server CPU second": self.rate_of_cpu(name),
            "server CPU ns/fact": Spread.of(s.server_cpu / self._facts * 1e9 for s in samples),
            "server busy": Spread.of(s.server_cpu / s.seconds for s in samples),
            "client busy": Spread.of(s.client_cpu / s.seconds for s in samples),
        }

    def _ratios(self, kind: _Kind) -> dict[str, Spread]:
        if kind.group is not None:
            return {}
        return self._ratios_of(kind.name, _KINDS[0 if kind.parse else 1])

    def _ratios_of(self, name: str, limit: _Kind = _KINDS[0]) -> dict[str, Spread]:
        return {
            "of the ready messages' rate": self.times_the_rate(limit.name, name),
            **{f"times {peer.name}'s": self.times_the_rate(peer.name, name) for peer in self._peers},
        }

    def rate(self, name: str) -> Spread:
        return Spread.of(self._facts / sample.seconds for sample in self._samples[name])

    def rate_of_cpu(self, name: str) -> Spread:
        return Spread.of(self._facts / sample.server_cpu for sample in self._samples[name])

    def times_the_rate(self, limit: str, name: str = LOOKED_AT.name) -> Spread:
        own, other = self._samples[name], self._samples[limit]
        return Spread.of(b.seconds / a.seconds for a, b in zip(own, other, strict=True))

    def expectations(self) -> list[Expectation]:
        parsed = _KINDS[2].name
        return [
            at_least(
                f"replay, {self.plan}: facts per server CPU second", self.rate_of_cpu(parsed).median, REQUIRED
            ),
            at_least(f"replay, {self.plan}: facts/s, parsed", self.rate(parsed).median, REQUIRED),
        ]
