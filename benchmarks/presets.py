"""How much a run measures: sizes and durations by name."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class StreamSizes:
    """The size of the scenarios of streams."""

    replayed_facts: int
    """In each of the logs that are replayed."""
    deliveries: int
    """Appends of which each delivery is timed, a round."""
    subscribers: tuple[int, ...]
    """How many wait for them."""
    filtered: int
    """Filtered subscribers beside a load of appends."""
    stuck_facts: int
    """Facts appended beside subscribers that do not read."""
    stuck: int
    large_stuck: int
    """Subscribers that do not read; in the second case each of them holds a batch of 3 MiB."""


@dataclass(frozen=True)
class PostgresSizes:
    """The size of the scenario on PostgreSQL."""

    seconds: float
    """How long appends are measured in a round."""
    copied_rows: int
    """In each transaction of the COPY."""
    servers: int
    """On one schema, with one writer each."""
    log_sizes: tuple[int, ...]
    """Facts in the logs that are looked up and replayed, smallest first; none for no such logs."""


@dataclass(frozen=True)
class ScaleSizes:
    """The size of the scenario that asks whether anything slows down with the log."""

    log_sizes: tuple[int, int]
    """Facts in a small log and in a large one."""
    idle_streams: int
    seconds: float
    """How long appends are measured in a round: short, so that the small log stays small."""


@dataclass(frozen=True)
class Preset:
    """The size of a run."""

    name: str
    rounds: int
    """Every variant of a comparison is measured once a round, beside one round that does not count."""
    other_rounds: int
    """The same, for tables from which no figure is taken that is wanted (`benchmarks.wanted`)."""
    seconds: float
    """How long each variant is loaded in a round."""
    callers: tuple[int, ...]
    """Concurrent callers, each waiting for its answer before it calls again."""
    single_callers: tuple[int, ...]
    """The same, for appends of one event."""
    log_sizes: tuple[int, ...]
    """Facts in the logs that contexts are queried from, smallest first."""
    contexts: int
    """Different contexts of ten facts in each of those logs; they are asked for in turn."""
    queries: int
    """Queries of each kind and log in a round."""
    streams: StreamSizes
    """What the scenarios of streams measure."""
    postgres: PostgresSizes
    scale: ScaleSizes
    client_facts: int
    """Imported at once, and replayed, by the Python client."""


_QUICK_STREAMS: Final = StreamSizes(30_000, 10, (1, 100), 200, 10_000, 40, 10)
_STANDARD_STREAMS: Final = StreamSizes(500_000, 20, (1, 10, 100, 1_000), 1_000, 200_000, 500, 100)
_FULL_STREAMS: Final = StreamSizes(500_000, 20, (1, 10, 100, 1_000), 1_000, 200_000, 500, 500)

_SINGLES: Final = (1, 8, 64, 256)

_NO_LOGS: Final = PostgresSizes(0.25, 4_000, 4, ())
_LOGS: Final = PostgresSizes(1.0, 10_000, 10, (100_000, 1_000_000))
_LARGER_LOGS: Final = PostgresSizes(2.0, 10_000, 10, (100_000, 2_000_000))

PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset(
            "quick",
            rounds=2,
            other_rounds=1,
            seconds=0.2,
            callers=(8, 64),
            single_callers=(1, 64),
            log_sizes=(1_000, 10_000),
            contexts=20,
            queries=50,
            streams=_QUICK_STREAMS,
            postgres=_NO_LOGS,
            scale=ScaleSizes((1_000, 10_000), 50, 0.1),
            client_facts=5_000,
        ),
        Preset(
            "standard",
            rounds=5,
            other_rounds=3,
            seconds=0.5,
            callers=(1, 8, 64),
            single_callers=_SINGLES,
            log_sizes=(10_000, 100_000, 1_000_000),
            contexts=100,
            queries=200,
            streams=_STANDARD_STREAMS,
            postgres=_LOGS,
            scale=ScaleSizes((100_000, 1_000_000), 2_000, 0.25),
            client_facts=50_000,
        ),
        Preset(
            "full",
            rounds=7,
            other_rounds=3,
            seconds=1.0,
            callers=(1, 8, 64),
            single_callers=_SINGLES,
            log_sizes=(10_000, 100_000, 1_000_000),
            contexts=100,
            queries=200,
            streams=_FULL_STREAMS,
            postgres=_LARGER_LOGS,
            scale=ScaleSizes((100_000, 5_000_000), 2_000, 0.25),
            client_facts=50_000,
        ),
    )
}
