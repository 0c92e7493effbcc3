"""Results for people, in Markdown. For programs they are in `benchmarks.recorded`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.comparison import RatioOf, Row, Spread
from benchmarks.machine import Machine
from benchmarks.results import FigureTable, Result, Table
from benchmarks.wanted import Figure

_RATIOS: Final[Mapping[RatioOf, str]] = {
    "rate": "of {}'s rate",
    "latency": "times {}'s p50",
    "events": "of {}'s events/s",
}


def as_markdown(result: Result, about: str = "") -> str:
    lines = [f"## {result.scenario}", ""]
    if about:
        lines += [about, ""]
    if result.notes:
        lines += [*(f"- {note}" for note in result.notes), ""]
    for table in result.tables:
        lines += [*_table(table), ""]
    for figures in result.figures:
        lines += [*_figure_table(figures), ""]
    if result.expectations:
        lines += ["| expected | | measured | |", "|---|---|---:|---|"]
        lines += [
            f"| {e.what} | {e.bound} | {_figure(e.value)} | {'met' if e.met else 'NOT MET'} |"
            for e in result.expectations
        ]
        lines.append("")
    lines += [f"- checked: {text}" for text in result.checks]
    if result.peak_memory_mib:
        most = max(result.peak_memory_mib, key=lambda name: result.peak_memory_mib[name])
        lines.append(f"- most memory of a server: {result.peak_memory_mib[most]:.0f} MiB ({most})")
    return "\n".join([*lines, ""])


def wanted_as_markdown(figures: Sequence[Figure]) -> str:
    lines = [
        "| SQLite, full durability | against | wanted | measured, median (low to high) | |",
        "|---|---|---|---:|---|",
    ]
    for figure in figures:
        ratio = _spread(figure.ratio) if figure.ratio else ""
        lines.append(f"| {figure.what} | {figure.against} | {figure.wanted} | {ratio} | {figure.verdict} |")
    return "\n".join(lines)


def machine_as_markdown(machine: Machine, data: str) -> str:
    facts = [*machine.items(), ("data", data)]
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in facts)


def _table(table: Table) -> Iterator[str]:
    ratio = _RATIOS[table.ratio_of].format(table.limit)
    extras = sorted({name for row in table.rows for name in row.extra})
    heads = [
        "calls/s",
        "events/s",
        "p50 ms",
        "p99 ms",
        f"{ratio} (low to high)",
        "server CPU µs/call",
        *extras,
    ]
    yield f"### {table.title}"
    yield ""
    yield "| | " + " | ".join(head.replace("_", " ") for head in heads) + " |"
    yield "|---|" + "---:|" * len(heads)
    for row in table.rows:
        cells = [
            _figure(row.calls_per_second.median),
            _figure(row.events_per_second.median) if row.events_per_second else "",
            f"{row.p50_ms.median:.3f}",
            f"{row.p99_ms.median:.3f}",
            _spread(row.ratio),
            f"{row.server_cpu_us_per_call:,.0f}",
            *(_extra(row, name) for name in extras),
        ]
        yield f"| {row.name} | " + " | ".join(cells) + " |"


def _figure_table(table: FigureTable) -> Iterator[str]:
    heads = list(table.rows[0].figures)
    yield f"### {table.title}"
    yield ""
    yield "| | " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * len(heads)
    for row in table.rows:
        cells = [_median(row.figures[head]) if head in row.figures else "" for head in heads]
        yield f"| {row.name} | " + " | ".join(cells) + " |"
    yield ""
    yield from (f"- {note}" for note in table.notes)


def _median(figure: Spread) -> str:
    if figure.low == figure.high:
        return _figure(figure.median)
    return f"{_figure(figure.median)} ({_figure(figure.low)} to {_figure(figure.high)})"


def _extra(row: Row, name: str) -> str:
    return _figure(row.extra[name]) if name in row.extra else ""


def _spread(ratio: Spread | None) -> str:
    return f"**{ratio.median:.2f}** ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "1"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
