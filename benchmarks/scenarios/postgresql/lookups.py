"""Contexts of ten facts in large logs, and one that half of a log belongs to: over the wire, and at the store itself.

The store in this process is one more server on the log: what it commits the other one learns, and the other way round.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.comparison import Measure, Spread, Variant, measured, percentile, ratios_of_medians
from benchmarks.facts import COMMON_MEMBER, Fact
from benchmarks.ledger import check
from benchmarks.load import Sample, messages, one_by_one
from benchmarks.results import FigureRow, FigureTable, Result, Setting, at_most
from benchmarks.scenarios.context_query import KINDS, Kind
from benchmarks.scenarios.filled_log import BESIDE
from benchmarks.scenarios.postgresql.large_logs import LargeLog
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import Condition, prepare_append
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.validation import Violations
from factstr_server.rpc.translation import compiled_query
from factstr_server.stores.protocol import ContextRead, Window

HALF: Final = event_pb2.EventQuery(
    filters=[
        event_pb2.EventFilter(payload_predicates=event_pb2.PayloadPredicates(any_of=[f"{{{COMMON_MEMBER}}}"]))
    ]
)
_ONE_CASE, _AND_TYPE, _AND_MEMBER, _VERSION = KINDS
_EVENT: Final = event_pb2.NewEvent(event_type=BESIDE.event_type, payload=BESIDE.payload)


class _Question(NamedTuple):
    """What is asked of a log, and the milliseconds that it may take."""

    name: str
    bound: float | None
    kind: Kind | None
    """Of a context of ten facts; None for the version of what half of the log belongs to."""
    appends: bool = False
    """A fact is appended instead, on the condition that the context has its version."""
    conditional: bool = True

    def request(self, log: LargeLog, number: int) -> pb.QueryRequest:
        if self.kind is None:
            return pb.QueryRequest(query=HALF, limit=0)
        return pb.QueryRequest.FromString(self.kind.request(log.log.case(number)))

    def expected(self, log: LargeLog, number: int) -> tuple[int, list[tuple[int, Fact]]]:
        """The version, and the facts that are returned."""
        if self.kind is None:
            return log.last_common, []
        facts = log.log.expected(number)
        return facts[-1][0], [] if self.kind.version_only else facts


_QUESTIONS: Final = (
    _Question("context version", 5, _VERSION),
    _Question("ten facts", 5, _ONE_CASE),
    _Question("ten facts, and a common event type", 5, _AND_TYPE),
    _Question("ten facts, and a common member", 5, _AND_MEMBER),
    _Question("append, without a condition", None, _VERSION, appends=True, conditional=False),
    _Question("append_if, on ten facts", 5, _VERSION, appends=True),
    _Question("version of half of the log", 10, None),
)


class _Way(ABC):
    """One way to ask a log one thing again and again. Answers are checked between the measurements."""

    name: str

    def __init__(self, log: LargeLog, question: _Question) -> None:
        self.log = log
        self.question = question
        self.contexts = 1 if question.kind is None else log.log.contexts
        self._answers: list[tuple[int, object]] = []

    async def measure(self, count: int) -> Sample:
        sample = await one_by_one(self.log.server, count, self._noted)
        for context, answer in self._answers:
            self.check(context, answer)
        self._answers.clear()
        return sample

    async def _noted(self, number: int) -> None:
        context = number % self.contexts
        self._answers.append((context, await self.ask(context)))

    def check_read(self, context: int, version: int | None, records: Sequence[event_pb2.EventRecord]) -> None:
        facts = [(record.sequence_number, Fact(record.event_type, record.payload)) for record in records]
        expected = self.question.expected(self.log, context)
        check(
            (version, facts) == expected,
            f"{self.question.name}, {self.name}: version {version} and {len(facts)} facts came back where "
            f"{expected[0]} and {len(expected[1])} are right, or other facts",
        )

    @abstractmethod
    async def ask(self, context: int) -> object: ...

    @abstractmethod
    def check(self, context: int, answer: object) -> None: ...


class _OverTheWire(_Way):
    name = "over the wire"

    def __init__(self, log: LargeLog, question: _Question) -> None:
        super().__init__(log, question)
        self._requests = [self._request(context) for context in range(self.contexts)]

    def _request(self, context: int) -> bytes:
        request = self.question.request(self.log, context)
        if not self.question.appends:
            return request.SerializeToString()
        if not self.question.conditional:
            return pb.AppendRequest(events=[_EVENT]).SerializeToString()
        version, _ = self.question.expected(self.log, context)
        conditional = pb.AppendIfRequest(
            events=[_EVENT], context_query=request.query, expected_context_version=version
        )
        return conditional.SerializeToString()

    async def ask(self, context: int) -> object:
        if self.question.appends:
            connection = self.log.connection
            append = connection.append_if if self.question.conditional else connection.append
            return await append(self._requests[context])
        return await messages(self.log.connection.query(self._requests[context]))

    def check(self, context: int, answer: object) -> None:
        if isinstance(answer, bytes):
            self.log.acknowledged(answer)
            return
        assert isinstance(answer, list)
        parts = [pb.QueryResponse.FromString(raw) for raw in answer]
        records = [record for part in parts for record in part.event_records]
        self.check_read(context, parts[-1].current_context_version, records)


class _AtTheStore(_Way):
    name = "at the store"

    def __init__(self, log: LargeLog, question: _Question) -> None:
        super().__init__(log, question)
        self._asked = [self._compiled(context) for context in range(self.contexts)]

    def _compiled(self, context: int) -> tuple[CompiledQuery, Window, int]:
        request = self.question.request(self.log, context)
        window = Window(max_facts=request.limit if request.HasField("limit") else None)
        version, _ = self.question.expected(self.log, context)
        return compiled_query(request.query, Violations(), "query"), window, version

    async def ask(self, context: int) -> object:
        query, window, version = self._asked[context]
        if not self.question.appends:
            return await self.log.store.read_context(query, window)
        condition = Condition(query, version) if self.question.conditional else None
        append = prepare_append([_EVENT], Violations(), condition=condition)
        [outcome] = await self.log.store.commit([append])
        return outcome

    def check(self, context: int, answer: object) -> None:
        if not isinstance(answer, ContextRead):
            self.log.committed(answer)
            return
        check(answer.page.finished, f"{self.question.name}, {self.name}: only a part came back")
        records = [event_pb2.EventRecord.FromString(record) for record in answer.page.records]
        self.check_read(context, answer.context_version, records)


async def measure(setting: Setting, logs: Sequence[LargeLog], result: Result) -> None:
    preset = setting.preset
    variants: list[Variant] = []
    for question in _QUESTIONS:
        for way in (_OverTheWire, _AtTheStore):
            for log in logs:
                asked = way(log, question)
                variants.append(Variant(_name(question, way, log), _measure_of(asked, preset.queries)))
    samples = await measured(variants, preset.rounds)
    table = FigureTable(
        "Looked up in large logs",
        [
            _row(question, way, logs, samples)
            for question in _QUESTIONS
            for way in (_OverTheWire, _AtTheStore)
        ],
        ["ms, one call after the other; an append_if commits a fact, durably"],
    )
    result.figures.append(table)
    for question in _QUESTIONS:
        if question.bound is None:
            continue
        for way in (_OverTheWire, _AtTheStore):
            name = _name(question, way, logs[-1])
            median = Spread.of(percentile(sample, 0.5) for sample in samples[name]).median
            result.expectations.append(at_most(f"{name}: median ms", median, question.bound))
    asked_in_all = preset.queries * preset.rounds
    result.checks.append(
        f"every answer, {asked_in_all:,} for each figure, held exactly its context and version; no append_if conflicted"
    )


def _measure_of(asked: _Way, count: int) -> Measure:
    return lambda: asked.measure(count)


def _name(question: _Question, way: type[_Way], log: LargeLog) -> str:
    return f"{question.name}, {way.name}, {log.size:,} facts"


def _row(
    question: _Question, way: type[_Way], logs: Sequence[LargeLog], samples: Mapping[str, list[Sample]]
) -> FigureRow:
    found = [samples[_name(question, way, log)] for log in logs]
    figures = {}
    for log, of_log in zip(logs, found, strict=True):
        figures[f"p50, {log.size:,} facts"] = Spread.of(percentile(sample, 0.5) for sample in of_log)
        figures[f"p99, {log.size:,} facts"] = Spread.of(percentile(sample, 0.99) for sample in of_log)
    figures["times the smaller log's p50"] = ratios_of_medians(found[-1], found[0])
    return FigureRow(f"{question.name}, {way.name}", figures)
