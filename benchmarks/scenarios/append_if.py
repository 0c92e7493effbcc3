"""Conditional appends: each on a context of its own, and all on the same one.

Checked: the log holds what was acknowledged; no append on a context of its own conflicts; on the shared one every
append names exactly the version that the one before it made, and whatever else is refused is refused as a conflict.
"""

from functools import partial
from itertools import count

import grpc

from benchmarks.comparison import Variant, compared, ratios_of_rates
from benchmarks.connection import Connection
from benchmarks.facts import Fact, FactSource, case_predicate
from benchmarks.ledger import Ledger, check
from benchmarks.load import messages
from benchmarks.results import Found, Result, Setting, Table
from benchmarks.scenarios.append import COMPARED_CALLERS
from benchmarks.scenarios.bench import Bench, bench
from benchmarks.wanted import CONDITIONAL
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

APPENDS_PER_CONTEXT = 10
CONTENDING_CALLERS = 8


async def run(setting: Setting) -> Result:
    result = Result("append_if")
    for callers in setting.preset.callers:
        name = f"append_if-{callers}"
        is_wanted = callers == COMPARED_CALLERS[1]
        async with bench(setting, name) as place:
            distinct = DistinctContexts(place.connection, setting.source)
            rows, samples = await compared(
                [
                    place.limit(callers, setting.preset.seconds),
                    Variant(
                        "append_if, own context",
                        place.load(callers, setting.preset.seconds, distinct.append),
                        {"callers": callers},
                        1,
                    ),
                ],
                setting.preset.rounds if is_wanted else setting.preset.other_rounds,
                "rate",
            )
            if is_wanted:
                own, empty = samples["append_if, own context"], samples["empty unary call"]
                result.wanted[CONDITIONAL] = Found(ratios_of_rates(own, empty))
            title = f"Conditional appends, {callers} caller{'s' * (callers > 1)}, each with the right version"
            result.tables.append(Table(title, "rate", rows))
            result.checks.append(f"{name}: {await distinct.ledger.check(place.connection)}; no conflict")
            result.peak_memory_mib[name] = place.server.peak_memory_mib() or 0
    await _contended(setting, result)
    return result


async def _contended(setting: Setting, result: Result) -> None:
    name = "append_if-contended"
    async with bench(setting, name) as place:
        contended = _OneContext(place, setting.source)
        rows, _ = await compared(
            [
                place.limit(CONTENDING_CALLERS, setting.preset.seconds),
                Variant(
                    "read, append_if, until committed",
                    place.load(CONTENDING_CALLERS, setting.preset.seconds, contended.append),
                    {"callers": CONTENDING_CALLERS},
                    1,
                ),
            ],
            setting.preset.other_rounds,
            "rate",
        )
        committed = len(contended.versions)
        rows[1].extra["conflicts_per_commit"] = contended.conflicts / committed
        title = f"Conditional appends, {CONTENDING_CALLERS} callers on one context"
        result.tables.append(Table(title, "rate", rows))
        contended.check_chain()
        result.checks.append(
            f"{name}: {await contended.ledger.check(place.connection)}; {committed:,} commits form one chain of "
            f"versions beside {contended.conflicts:,} conflicts"
        )
        result.peak_memory_mib[name] = place.server.peak_memory_mib() or 0


class DistinctContexts:
    """Every caller opens a context, appends to it a few times with the version it knows, and opens the next."""

    def __init__(self, connection: Connection, source: FactSource, ledger: Ledger | None = None) -> None:
        """With the ledger of a log that others append to as well."""
        self._connection = connection
        self._source = source
        self._numbers = count()
        self._open: dict[int, _OpenContext] = {}
        self.ledger = ledger or Ledger()

    async def append_first(self, _: int) -> None:
        """Opens a context for each append."""
        context = self._new()
        self.ledger.acknowledged(
            await self._connection.append_if(context.request()), partial(_one, context.fact)
        )

    async def append(self, caller: int) -> None:
        context = self._open.get(caller)
        if context is None or context.appends == APPENDS_PER_CONTEXT:
            context = self._open[caller] = self._new()
        response = await self._connection.append_if(context.request())
        context.appends += 1
        context.version = pb.AppendResponse.FromString(response).last_sequence_number
        self.ledger.acknowledged(response, partial(_one, context.fact))

    def _new(self) -> "_OpenContext":
        return _OpenContext(self._source, f"context-{next(self._numbers)}")


class _OpenContext:
    """A context that one caller alone appends to: the same fact, again and again."""

    def __init__(self, source: FactSource, case: str) -> None:
        self.fact = source.fact_of_case(0, case)
        self.appends = 0
        self.version: int | None = None
        self._encoded = conditional_request([self.fact], case, None).SerializeToString()

    def request(self) -> bytes:
        if self.version is None:
            return self._encoded
        # Fields of a message may be joined after encoding.
        return self._encoded + pb.AppendIfRequest(expected_context_version=self.version).SerializeToString()


class _OneContext:
    """All callers read the same context's version and append with it, until they get through."""

    def __init__(self, place: Bench, source: FactSource) -> None:
        self._connection = place.connection
        self._source = source
        self._numbers = count()
        self._version_query = pb.QueryRequest(query=_query("shared"), limit=0).SerializeToString()
        self.ledger = Ledger()
        self.conflicts = 0
        self.versions: list[tuple[int, int]] = []
        """The version expected and the version made, of every commit."""

    async def append(self, _: int) -> None:
        fact = self._source.fact_of_case(next(self._numbers), "shared")
        while True:
            [answer] = await messages(self._connection.query(self._version_query))
            version = pb.QueryResponse.FromString(answer).current_context_version
            request = conditional_request([fact], "shared", version).SerializeToString()
            try:
                response = await self._connection.append_if(request)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.ABORTED:
                    raise
                self.conflicts += 1
                continue
            self.ledger.acknowledged(response, partial(_one, fact))
            self.versions.append((version, pb.AppendResponse.FromString(response).last_sequence_number))
            return

    def check_chain(self) -> None:
        made_before = 0
        for expected, made in sorted(self.versions, key=lambda versions: versions[1]):
            check(
                expected == made_before,
                f"version {made} was committed on {expected}, although {made_before} was the context's version",
            )
            made_before = made


def _query(case: str) -> event_pb2.EventQuery:
    predicates = event_pb2.PayloadPredicates(any_of=[case_predicate(case)])
    return event_pb2.EventQuery(filters=[event_pb2.EventFilter(payload_predicates=predicates)])


def conditional_request(facts: list[Fact], case: str, version: int | None) -> pb.AppendIfRequest:
    events = [event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload) for fact in facts]
    return pb.AppendIfRequest(events=events, context_query=_query(case), expected_context_version=version)


def _one(fact: Fact) -> list[Fact]:
    return [fact]
