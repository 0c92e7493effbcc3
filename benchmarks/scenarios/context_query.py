"""Queries of contexts of ten facts, in logs of different sizes that are served side by side.

Checked: every log holds what was acknowledged, and every answer measured holds exactly its context's facts and version.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from benchmarks.comparison import Variant, compared, ratios_of_medians
from benchmarks.connection import Connection, connected
from benchmarks.facts import COMMON_MEMBER, COMMON_TYPE, Fact, case_predicate
from benchmarks.ledger import check
from benchmarks.load import Sample, messages, one_by_one
from benchmarks.processes import ServerProcess, factstr_server
from benchmarks.results import Found, Result, Setting, Table, at_most
from benchmarks.scenarios.bench import bench
from benchmarks.scenarios.filled_log import FilledLog
from benchmarks.wanted import CONTEXT
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

WANTED_SIZE = 1_000_000


class Kind(NamedTuple):
    """A way to ask for a context."""

    name: str
    event_types: tuple[str, ...] = ()
    common_member: bool = False
    version_only: bool = False

    def request(self, case: str) -> bytes:
        predicate = case_predicate(case)
        if self.common_member:
            predicate = f"{predicate[:-1]},{COMMON_MEMBER}}}"
        wanted = event_pb2.EventFilter(
            event_types=event_pb2.EventTypes(any_of=self.event_types) if self.event_types else None,
            payload_predicates=event_pb2.PayloadPredicates(any_of=[predicate]),
        )
        return pb.QueryRequest(
            query=event_pb2.EventQuery(filters=[wanted]), limit=0 if self.version_only else None
        ).SerializeToString()


KINDS = (
    Kind("one case"),
    Kind("one case, and a common event type", event_types=(COMMON_TYPE,)),
    Kind("one case, and a common member", common_member=True),
    Kind("one case, version only", version_only=True),
)


class ServedLog(NamedTuple):
    server: ServerProcess
    connection: Connection
    log: FilledLog


async def run(setting: Setting) -> Result:
    preset = setting.preset
    result = Result("context_query")
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(bench(setting, "context_query-empty"))
        logs = []
        for size in preset.log_sizes:
            database = setting.folder / f"context_query-{size}.db"
            server = await stack.enter_async_context(factstr_server(database))
            connection = await stack.enter_async_context(connected(server.address))
            log = FilledLog(setting.source, size, preset.contexts)
            rate = await log.fill(connection)
            result.checks.append(
                f"log of {size:,}: {await log.ledger.check(connection)}; filled with {rate:,.0f} events/s"
            )
            logs.append(ServedLog(server, connection, log))
        for kind in KINDS:
            if kind.common_member and not setting.source.has_common_member:
                result.notes.append(
                    f"{kind.name}: not measured, as no fact of {setting.source.origin} holds it"
                )
                continue
            await _measure(setting, result, kind, logs, place.streaming_limit(preset.queries))
        for served in logs:
            result.peak_memory_mib[f"log of {served.log.size:,}"] = served.server.peak_memory_mib() or 0
    return result


async def _measure(
    setting: Setting, result: Result, kind: Kind, logs: list[ServedLog], limit: Variant
) -> None:
    queries = [ContextQueries(kind, served, setting.preset.queries) for served in logs]
    variants = [
        Variant(f"{query.served.log.size:,} facts", query.measure, {"facts": query.served.log.size})
        for query in queries
    ]
    rounds = setting.preset.rounds if kind is KINDS[0] else setting.preset.other_rounds
    rows, samples = await compared([limit, *variants], rounds, "latency")
    result.tables.append(Table(f"Context of ten facts: {kind.name}", "latency", rows))
    if kind is KINDS[0]:
        result.wanted[CONTEXT] = _wanted(logs, samples, limit)
    smallest, largest = variants[0], variants[-1]
    flatness = ratios_of_medians(samples[largest.name], samples[smallest.name])
    result.expectations.append(
        at_most(
            f"context query, {kind.name}: median at {largest.name} over median at {smallest.name}",
            flatness.median,
            1.5,
        )
    )
    checked = sum(query.checked for query in queries)
    result.checks.append(f"{kind.name}: {checked:,} answers held exactly their context")


def _wanted(logs: list[ServedLog], samples: Mapping[str, list[Sample]], limit: Variant) -> Found:
    sizes = [served.log.size for served in logs]
    size = WANTED_SIZE if WANTED_SIZE in sizes else sizes[-1]
    ratio = ratios_of_medians(samples[f"{size:,} facts"], samples[limit.name])
    return Found(ratio, "" if size == WANTED_SIZE else f"measured at {size:,} facts")


class ContextQueries:
    """Asks for the contexts of one log in turn, and looks at the answers between the measurements."""

    def __init__(self, kind: Kind, served: ServedLog, queries: int) -> None:
        self.served = served
        self.checked = 0
        self._kind = kind
        self._count = queries
        self._requests = [kind.request(served.log.case(number)) for number in range(served.log.contexts)]
        self._answers: list[tuple[int, list[bytes]]] = []

    async def measure(self) -> Sample:
        sample = await one_by_one(self.served.server, self._count, self._ask)
        for context, answer in self._answers:
            self._check(context, answer)
        self._answers.clear()
        return sample

    async def _ask(self, number: int) -> None:
        context = number % len(self._requests)
        self._answers.append((context, await messages(self.served.connection.query(self._requests[context]))))

    def _check(self, context: int, answer: list[bytes]) -> None:
        parts = [pb.QueryResponse.FromString(raw) for raw in answer]
        found = [
            (record.sequence_number, Fact(record.event_type, record.payload))
            for part in parts
            for record in part.event_records
        ]
        expected = self.served.log.expected(context)
        check(
            found == ([] if self._kind.version_only else expected),
            f"{self._kind.name}: {len(found)} facts came back for a context of {len(expected)}",
        )
        version = parts[-1].current_context_version
        check(version == expected[-1][0], f"{self._kind.name}: the context's version came back as {version}")
        self.checked += 1
