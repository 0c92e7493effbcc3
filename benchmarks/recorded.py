"""A whole run: what `--json` writes, and what the page and the plots are made from."""

from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.presets import Preset
from benchmarks.results import Result
from benchmarks.wanted import Figure


@dataclass(frozen=True)
class Run:
    """Where, how much, and what was found so far."""

    machine: Machine
    data: str
    """Whose facts were appended."""
    preset: Preset
    results: list[Result] = field(default_factory=list)
    figures_wanted: list[Figure] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def result(self, scenario: str) -> Result:
        """Empty where the scenario did not run."""
        return next((each for each in self.results if each.scenario == scenario), Result(scenario))


def write(run: Run, file: Path) -> None:
    """A median with its extremes is a list of three."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def read(file: Path) -> Run:
    return msgspec.json.decode(file.read_bytes(), type=Run)


def named_run(file: str) -> Run:
    """For argparse, which tells what is wrong with an argument."""
    try:
        return read(Path(file))
    except (OSError, msgspec.DecodeError) as error:
        raise ArgumentTypeError(f"{file} does not hold a run: {error}") from error
