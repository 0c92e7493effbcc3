"""A whole run: what `--json` writes, and what the page and the plots are made from."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.presets import Preset
from benchmarks.results import Result
from benchmarks.wanted import Figure


@dataclass(frozen=True)
class Run:
    """Where, how much, and what was found."""

    machine: Machine
    data: str
    """Whose facts were appended."""
    preset: Preset
    results: list[Result]
    figures_wanted: list[Figure]
    failures: dict[str, str]
    skipped: dict[str, str]

    def result(self, scenario: str) -> Result:
        """Empty where the scenario did not run."""
        return next((each for each in self.results if each.scenario == scenario), Result(scenario))


def write(run: Run, file: Path) -> None:
    """A median with its extremes is a list of three."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def read(file: Path) -> Run:
    return msgspec.json.decode(file.read_bytes(), type=Run)
