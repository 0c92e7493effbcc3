"""Variants measured side by side: in turn within a round, in another order in the next, so that what else the machine
does meets all of them; medians over the rounds, and ratios of the same round.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, NamedTuple, TypeVar

from benchmarks.load import Sample

T = TypeVar("T")
RatioOf = Literal["rate", "latency", "events"]
"""Ratios are of calls a second, of median latencies, or of events a second."""
Measure = Callable[[], Awaitable[Sample]]
Parameter = int | str | bool


class Spread(NamedTuple):
    """The median over the rounds, and the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Row:
    """One variant's figures, over all rounds."""

    name: str
    parameters: dict[str, Parameter]
    calls: int
    calls_per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    ratio: Spread | None
    """To the first variant of the comparison, round by round: of rates, or of median latencies."""
    server_cpu_us_per_call: float
    events_per_second: Spread | None = None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What is measured. The first one of a comparison is what the others are compared with."""

    name: str
    measure: Measure
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    events_per_call: int | None = None


async def compared(
    variants: list[Variant], rounds: int, ratio_of: RatioOf
) -> tuple[list[Row], Mapping[str, list[Sample]]]:
    """The rows of all variants, and their samples by name."""
    samples = await measured(variants, rounds)
    return rows_of(variants, samples, ratio_of), samples


async def measured(variants: list[Variant], rounds: int) -> Mapping[str, list[Sample]]:
    """The samples of all variants by name, of the rounds that count."""
    samples: dict[str, list[Sample]] = {variant.name: [] for variant in variants}
    for variant, counted in in_turn(variants, rounds):
        sample = await variant.measure()
        if counted:
            samples[variant.name].append(sample)
    return samples


def in_turn(each: Sequence[T], rounds: int) -> Iterator[tuple[T, bool]]:
    """Each once a round, in the other order in the next; and whether the round counts: the first one warms up."""
    for number in range(rounds + 1):
        for one in each if number % 2 else reversed(each):
            yield one, number > 0


def rows_of(variants: list[Variant], samples: Mapping[str, list[Sample]], ratio_of: RatioOf) -> list[Row]:
    """Rows of variants that were measured in the same rounds, the first one compared with the others."""
    baseline = samples[variants[0].name]
    rows = []
    for variant in variants:
        weight = 1.0
        if ratio_of == "events":
            weight = (variant.events_per_call or 1) / (variants[0].events_per_call or 1)
        rows.append(_row(variant, samples[variant.name], baseline, ratio_of, weight))
    return rows


def ratios_of_medians(over: list[Sample], under: list[Sample]) -> Spread:
    """How many times the median latency of one variant is another's, round by round."""
    return Spread.of(percentile(a, 0.5) / percentile(b, 0.5) for a, b in zip(over, under, strict=True))


def ratios_of_rates(over: list[Sample], under: list[Sample]) -> Spread:
    """How many times the calls a second of one variant are another's, round by round."""
    return Spread.of(a.calls_per_second / b.calls_per_second for a, b in zip(over, under, strict=True))


def percentile(sample: Sample, share: float) -> float:
    """In milliseconds."""
    ordered = sorted(sample.latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def _row(
    variant: Variant, samples: list[Sample], baseline: list[Sample], ratio_of: RatioOf, weight: float
) -> Row:
    """`weight`: what a call counts for in a ratio of rates, where one of the baseline's counts for 1."""
    calls = sum(sample.calls for sample in samples)
    rates = Spread.of(sample.calls_per_second for sample in samples)
    if samples is baseline:
        ratio = None
    elif ratio_of == "latency":
        ratio = ratios_of_medians(samples, baseline)
    else:
        ratio = Spread.of(
            weight * sample.calls_per_second / limit.calls_per_second
            for sample, limit in zip(samples, baseline, strict=True)
        )
    events = variant.events_per_call
    return Row(
        variant.name,
        dict(variant.parameters),
        calls,
        rates,
        Spread.of(percentile(sample, 0.5) for sample in samples),
        Spread.of(percentile(sample, 0.99) for sample in samples),
        ratio,
        sum(sample.server_cpu_seconds for sample in samples) / calls * 1e6,
        Spread(*(events * rate for rate in rates)) if events else None,
    )
