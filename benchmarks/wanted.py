"""The figures that are wanted of FACTSTR: each a ratio to what was measured in the same rounds, told after every run.

Scenarios put what they find into their results by the names that stand here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from benchmarks.comparison import Spread
from benchmarks.peer import PEERS
from benchmarks.results import Result

HUNDREDS: Final = "hundreds"
PIPELINED: Final = "pipelined"
SINGLES: Final = "singles"
CONDITIONAL: Final = "conditional"
REPLAY: Final = "replay"
CONTEXT: Final = "context"
SCALE: Final = "scale"


class Wanted(NamedTuple):
    """One figure, and the scenario that measures it."""

    scenario: str
    what: str
    against: str
    bound: float
    aim: float | None = None
    smaller: bool = False
    """Is better."""

    def described(self) -> str:
        words = f"at {'most' if self.smaller else 'least'} {self.bound}"
        return f"{words} (aim {self.aim})" if self.aim else words

    def verdict(self, value: float) -> str:
        if self._holds(value, self.bound):
            return "met, and the aim" if self.aim and self._holds(value, self.aim) else "met"
        return "NOT MET"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.smaller else value >= bound


def of_peer(name: str, peer: str) -> str:
    """The name of a figure that is wanted against each way to tag."""
    return f"{name}, {peer}"


WANTED: Final[Mapping[str, Wanted]] = {
    **{
        of_peer(HUNDREDS, peer): Wanted(
            "append", "appends of 100 events, 8 clients: events/s", peer, 1.0, 1.5
        )
        for peer in PEERS
    },
    **{
        of_peer(PIPELINED, peer): Wanted(
            "append_stream",
            "pipelined single-event appends (`AppendStream`, 8 streams, packed): events/s",
            f"64 concurrent single appends of {peer}",
            1.5,
            3,
        )
        for peer in PEERS
    },
    SINGLES: Wanted(
        "append", "single-event unary appends, 64 concurrent: rate", "the empty call's rate", 0.6, 0.75
    ),
    CONDITIONAL: Wanted(
        "append_if", "`append_if`, 64 distinct contexts at once: rate", "the empty call's rate", 0.5, 0.7
    ),
    **{
        of_peer(REPLAY, peer): Wanted(
            "replay",
            "replay from the beginning, every fact looked at, slowest of three logs: facts/s",
            f"a read of {peer}",
            1.5,
            3,
        )
        for peer in PEERS
    },
    CONTEXT: Wanted(
        "context_query",
        "context query, 10 of 1,000,000 facts: median latency",
        "an empty server-streaming call's",
        1.5,
        1.25,
        smaller=True,
    ),
    SCALE: Wanted(
        "scale", "context query at 5,000,000 facts: median latency", "at 100,000 facts", 1.3, smaller=True
    ),
}


@dataclass(frozen=True)
class Figure:
    """A wanted figure, as a run found it."""

    what: str
    against: str
    wanted: str
    ratio: Spread | None
    verdict: str
    """Or why there is none."""


def wanted_figures(
    results: Sequence[Result], failures: Mapping[str, str], skipped: Mapping[str, str]
) -> list[Figure]:
    found = {key: each for result in results for key, each in result.wanted.items()}
    ran = {result.scenario for result in results}
    figures = []
    for key, wanted in WANTED.items():
        ratio = None
        if key in found:
            ratio, instead = found[key].ratio, found[key].instead
            verdict = f"not judged: {instead}" if instead else wanted.verdict(ratio.median)
        elif wanted.scenario in failures:
            verdict = f"{wanted.scenario} FAILED"
        elif wanted.scenario in skipped:
            verdict = f"skipped: {skipped[wanted.scenario]}"
        elif wanted.scenario in ran:
            verdict = "skipped: UmaDB is not installed"
        else:
            verdict = f"{wanted.scenario} did not run"
        figures.append(Figure(wanted.what, wanted.against, wanted.described(), ratio, verdict))
    return figures
