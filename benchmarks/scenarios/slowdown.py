"""What is asked of a small log and of a large one in the same rounds, and how much slower the large one answers.

Appended are facts of cases that no context asked for is about. The conditions are of two kinds: contexts that no fact
belongs to yet, and old ones, whose facts all stand at the beginning of the log.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import orjson

from benchmarks.comparison import (
    Measure,
    Spread,
    Variant,
    measured,
    percentile,
    ratios_of_medians,
    ratios_of_rates,
)
from benchmarks.facts import FactSource
from benchmarks.load import Sample, many_at_once, one_by_one
from benchmarks.results import FigureRow, FigureTable, Result, Setting, at_most
from benchmarks.scenarios.append import Appends, Request, prepared_requests
from benchmarks.scenarios.append_if import DistinctContexts, conditional_request
from benchmarks.scenarios.context_query import KINDS, ContextQueries, ServedLog
from benchmarks.scenarios.filled_log import BESIDE, facts_beside

CALLERS: Final = 8
MOST_TIMES_SLOWER: Final = 1.5
MOST_MEMORY_MB: Final = 400

SINGLES: Final = f"appends of 1 event, {CALLERS} callers, calls/s"
HUNDREDS: Final = f"appends of 100 events, {CALLERS} callers, calls/s"
CONTEXT_QUERY: Final = "context query of ten facts, ms"
_OLD: Final = "append_if on an old context, ms"
_NEW: Final = "append_if on a new context, ms"
_OLD_CONTEXTS: Final = 100
_OTHER_LAP: Final = 1_000_000
"""Its cases are in none of the logs."""
_SLOWER: Final = "times slower in the larger log"


async def slowdown(
    setting: Setting, logs: Sequence[ServedLog], result: Result
) -> Mapping[str, tuple[list[Sample], list[Sample]]]:
    """The samples of the small log and of the large one, by what was asked."""
    requests = {events: prepared_requests(setting.source, events, _OTHER_LAP) for events in (1, 100)}
    asked = [_measures(setting, served, requests) for served in logs]
    found: dict[str, list[Sample]] = {}
    # Hundreds come last: they would make a large log of the small one while the others are measured.
    for stage in ([what for what in asked[0] if what != HUNDREDS], [HUNDREDS]):
        variants = [
            Variant(_name(what, served), measures[what])
            for what in stage
            for served, measures in zip(logs, asked, strict=True)
        ]
        found.update(await measured(variants, setting.preset.rounds))
    small, large = logs
    samples = {what: (found[_name(what, small)], found[_name(what, large)]) for what in asked[0]}
    rows = [FigureRow(what, _figures(what, logs, *samples[what])) for what in samples]
    result.figures.append(
        FigureTable(
            f"A log of {small.log.size:,} facts and one of {large.log.size:,}",
            rows,
            ["ms: medians of one call after the other; every commit is durable"],
            {"small": small.log.size, "large": large.log.size},
        )
    )
    result.expectations.extend(
        at_most(f"{row.name}: {_SLOWER}", row.figures[_SLOWER].median, MOST_TIMES_SLOWER) for row in rows
    )
    return samples


def bounded_memory(served: ServedLog, result: Result) -> None:
    """The most that the server of a log held so far."""
    most = served.server.peak_memory_mib() or 0
    name = f"log of {served.log.size:,}"
    result.peak_memory_mib[name] = most
    result.expectations.append(
        at_most(f"{name}: most memory of its server, MB", most * 2**20 / 1e6, MOST_MEMORY_MB)
    )


def _measures(
    setting: Setting, served: ServedLog, requests: Mapping[int, Sequence[Request]]
) -> dict[str, Measure]:
    """By what is asked."""
    queries, seconds = setting.preset.queries, setting.preset.scale.seconds
    server, connection, log = served
    singles, hundreds = (Appends(connection, requests[events], log.ledger) for events in (1, 100))
    old = _OldContexts(served, setting.source)
    new = DistinctContexts(connection, setting.source, log.ledger)
    return {
        SINGLES: lambda: many_at_once(server, CALLERS, seconds, singles.append),
        HUNDREDS: lambda: many_at_once(server, CALLERS, seconds, hundreds.append),
        CONTEXT_QUERY: ContextQueries(KINDS[0], served, queries).measure,
        _OLD: lambda: one_by_one(server, queries, old.append),
        _NEW: lambda: one_by_one(server, queries, new.append_first),
    }


class _OldContexts:
    """Appends on the condition that one of the oldest contexts has its version. What is appended belongs to none."""

    def __init__(self, served: ServedLog, source: FactSource) -> None:
        self._connection = served.connection
        self._ledger = served.log.ledger
        spread = {served.log.case(number) for number in range(served.log.contexts)}
        first_lap = range(min(served.log.size, len(source)))
        versions: dict[str, int] = {}
        for number, fact in enumerate(served.log.facts(first_lap), 1):
            versions[orjson.loads(fact.payload)["case"]["id"]] = number
        oldest = sorted((version, case) for case, version in versions.items() if case not in spread)
        self._requests = [
            conditional_request([BESIDE], case, version).SerializeToString()
            for version, case in oldest[:_OLD_CONTEXTS]
        ]

    async def append(self, number: int) -> None:
        request = self._requests[number % len(self._requests)]
        self._ledger.acknowledged(await self._connection.append_if(request), facts_beside)


def _figures(
    what: str, logs: Sequence[ServedLog], small: list[Sample], large: list[Sample]
) -> dict[str, Spread]:
    by_rate = what in (SINGLES, HUNDREDS)
    figure = _rate if by_rate else partial(percentile, share=0.5)
    figures = {
        f"{served.log.size:,} facts": Spread.of(map(figure, samples))
        for served, samples in zip(logs, (small, large), strict=True)
    }
    slower = ratios_of_rates(small, large) if by_rate else ratios_of_medians(large, small)
    return figures | {_SLOWER: slower}


def _rate(sample: Sample) -> float:
    return sample.calls_per_second


def _name(what: str, served: ServedLog) -> str:
    return f"{what}, {served.log.size:,} facts"
