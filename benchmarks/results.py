"""What a scenario hands over: figures, checks, and how the figures stand beside what was expected of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.comparison import Parameter, RatioOf, Row, Spread
from benchmarks.facts import FactSource
from benchmarks.presets import Preset


class Setting(NamedTuple):
    """What every scenario is given."""

    preset: Preset
    source: FactSource
    folder: Path
    """For its databases; empty, and gone after the scenario."""


@dataclass(frozen=True)
class Table:
    """Rows measured in the same rounds; ratios are to the first one."""

    title: str
    ratio_of: RatioOf
    rows: list[Row]
    limit: str = "the empty call"
    """What the first row is."""


@dataclass(frozen=True)
class FigureRow:
    """One variant's figures by their names, over all rounds. Those that would say nothing of it are not there."""

    name: str
    figures: dict[str, Spread]


@dataclass(frozen=True)
class FigureTable:
    """Rows measured in the same rounds. The first one has all figures."""

    title: str
    rows: list[FigureRow]
    notes: list[str] = field(default_factory=list)
    """How the figures are to be read."""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    """Of all rows."""


class Skipped(Exception):
    """A scenario needs something that this machine has not got."""


@dataclass(frozen=True)
class Expectation:
    """A figure that somebody counts on. Not met is told, but no failure: machines differ."""

    what: str
    bound: str
    value: float
    met: bool


@dataclass(frozen=True)
class Found:
    """One of the figures that are wanted (`benchmarks.wanted`)."""

    ratio: Spread
    instead: str = ""
    """At which size it was measured, where that is not the one wanted."""


@dataclass(frozen=True)
class Result:
    """What one scenario found. A failed check is an exception instead."""

    scenario: str
    notes: list[str] = field(default_factory=list)
    """What must be known of the place where it was found."""
    tables: list[Table] = field(default_factory=list)
    figures: list[FigureTable] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    wanted: dict[str, Found] = field(default_factory=dict)
    peak_memory_mib: dict[str, float] = field(default_factory=dict)
    """Of each FACTSTR server."""


def at_least(what: str, value: float, bound: float) -> Expectation:
    return Expectation(what, f"at least {bound:,}", value, value >= bound)


def at_most(what: str, value: float, bound: float) -> Expectation:
    return Expectation(what, f"at most {bound:,}", value, value <= bound)
