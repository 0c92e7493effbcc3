"""How much a run measures: sizes and durations by name."""

from typing import Final, NamedTuple


class Preset(NamedTuple):
    """The size of a run."""

    name: str
    rounds: int
    """Every variant of a comparison is measured once a round."""
    seconds: float
    """How long each variant is loaded in a round."""
    callers: tuple[int, ...]
    """Concurrent callers, each waiting for its answer before it calls again."""
    log_sizes: tuple[int, ...]
    """Facts in the logs that contexts are queried from, smallest first."""
    contexts: int
    """Different contexts of ten facts in each of those logs; they are asked for in turn."""
    queries: int
    """Queries of each kind and log in a round."""


PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset("quick", 2, 0.4, (1, 8, 64), (1_000, 10_000), 20, 50),
        Preset("standard", 7, 1.0, (1, 8, 64), (10_000, 100_000, 1_000_000), 100, 200),
        Preset("full", 15, 2.0, (1, 8, 64), (10_000, 100_000, 1_000_000), 100, 400),
    )
}
