"""What the lab is made of: parts, each a promise that is tried in three sizes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Generic, TypeVar

PRESETS: Final = ("quick", "nightly", "full")
"""`quick` is what the ordinary tests do."""

Figures = dict[str, int | float]
"""What was tried and found, by name, in the order in which the page shows it."""

S = TypeVar("S")


@dataclass(frozen=True)
class Trial:
    """One run of a part."""

    folder: Path
    """Empty, and the trial's own."""
    seed: int
    """Printed by whoever began the trial; all that is drawn follows from it, but for what the machine decides."""
    say: Callable[[str], None] = print
    """Takes a line of progress."""
    plots: Path | None = None
    """Where plots go, if somebody wants them."""

    def chance(self, *names: object) -> Random:
        """Draws for one purpose, the same for the same seed whatever else is drawn."""
        return Random(" ".join(map(str, (self.seed, *names))))


@dataclass(frozen=True)
class Part(Generic[S]):
    """A promise and how it is tried. What breaks the promise fails the trial (`AssertionError`)."""

    name: str
    title: str
    sizes: Mapping[str, S]
    """By preset: how much is tried."""
    run: Callable[[S, Trial], Awaitable[Figures]]
