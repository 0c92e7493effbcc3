"""The plots of a run, drawn from its JSON as SVG and as PNG: `python -m benchmarks.plots FILE DIR`.

Lines are medians over the rounds, shades the extremes. What a run did not measure is left out.
"""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.comparison import Spread
from benchmarks.recorded import Run, named_run

Lines = Mapping[str, Mapping[float, Spread]]
"""By name, and by what is on the horizontal axis."""


def styled() -> AbstractContextManager[None]:
    """The time for which plots look like those of the benchmarks."""
    return mpl.rc_context(
        {
            # The same file from the same figures.
            "svg.hashsalt": "factstr",
            "font.size": 9,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
        }
    )


def draw(run: Run, folder: Path) -> list[str]:
    """The names of the plots drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with styled():
        for name, plot in PLOTS.items():
            figure = Figure(figsize=(7, 4.5), layout="constrained")
            if plot(run, figure.add_subplot()):
                figure.legend(loc="outside lower center", ncols=2)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
                figure.savefig(folder / f"{name}.png", dpi=120)
                drawn.append(name)
    return drawn


def _concurrency(run: Run, axes: Axes) -> bool:
    tables = [table for table in run.result("append").tables if table.title.startswith("Appends of 1 event,")]
    lines: defaultdict[str, dict[float, Spread]] = defaultdict(dict)
    for row in [row for table in tables for row in table.rows]:
        if not row.name.startswith("SQLite"):
            name = f"FACTSTR: {row.name}" if row.name.startswith("append") else row.name
            lines[name][float(row.parameters["callers"])] = row.calls_per_second
    axes.set_title("Appends of one event: more is better")
    axes.set_ylabel("calls a second")
    axes.set_yscale("log")
    return _lines(axes, lines, "concurrent callers")


def _context_query(run: Run, axes: Axes) -> bool:
    lines: defaultdict[str, dict[float, Spread]] = defaultdict(dict)
    for table in run.result("context_query").tables:
        kind = table.title.partition(": ")[2]
        for row in table.rows[1:]:
            lines[kind][float(row.parameters["facts"])] = row.p50_ms
        empty = table.rows[0].p50_ms.median
        if kind == "one case":
            axes.axhline(empty, color="grey", linestyle="--", label="empty server-streaming call")
    for figures in run.result("scale").figures:
        for asked in figures.rows:
            if asked.name.startswith("context query"):
                small, large = list(asked.figures.values())[:2]
                sizes = figures.parameters
                lines["one case, the two logs of `scale`"] = {
                    float(sizes["small"]): small,
                    float(sizes["large"]): large,
                }
    axes.set_title("Context of ten facts, one query after the other: less is better")
    axes.set_ylabel("median latency, ms")
    drawn = _lines(axes, lines, "facts in the log")
    axes.set_ylim(bottom=0)
    return drawn


def _replay(run: Run, axes: Axes) -> bool:
    tables = run.result("replay").figures
    if not tables:
        return False
    names = [row.name for row in tables[0].rows]
    height = 0.8 / len(tables)
    for number, table in enumerate(tables):
        rates = [row.figures["facts/s"] for row in table.rows]
        places = [place + number * height for place in range(len(names))]
        axes.barh(
            places,
            [rate.median for rate in rates],
            height,
            label=f"a log of {table.title.partition(' in ')[2]}",
            xerr=_extremes(rates),
            error_kw={"linewidth": 0.8},
        )
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_title("Replay of a whole log: more is better")
    axes.set_xlabel("facts a second")
    axes.xaxis.set_major_formatter(FuncFormatter(_counted))
    return True


def _delivery(run: Run, axes: Axes) -> bool:
    wanted = {
        "append, delivered": {
            "sent to last p50": "from the append: median",
            "sent to last p99": "from the append: p99",
            "answer to last p50": "from its answer (it is committed): median",
        },
        "relayed without a log": {"sent to last p50": "relayed without a log: median"},
    }
    lines: defaultdict[str, dict[float, Spread]] = defaultdict(dict)
    for table in run.result("delivery").figures:
        for row in table.rows:
            for figure, name in wanted[row.name].items():
                lines[name][float(table.parameters["subscribers"])] = row.figures[figure]
    axes.set_title("From an append to its delivery to the last subscriber: less is better")
    axes.set_ylabel("ms")
    # A delivery that came before the append's answer has no place on this scale, and is left out.
    axes.set_yscale("log", nonpositive="mask")
    return _lines(axes, lines, "subscribers of everything")


PLOTS: Final[Mapping[str, Callable[[Run, Axes], bool]]] = {
    "throughput": _concurrency,
    "context-query": _context_query,
    "replay": _replay,
    "delivery": _delivery,
}


def _lines(axes: Axes, lines: Lines, horizontal: str) -> bool:
    for name, points in lines.items():
        places = sorted(points)
        spreads = [points[place] for place in places]
        [line] = axes.plot(
            places, [spread.median for spread in spreads], marker="o", markersize=4, label=name
        )
        axes.fill_between(
            places,
            [spread.low for spread in spreads],
            [spread.high for spread in spreads],
            color=line.get_color(),
            alpha=0.15,
        )
    axes.set_xscale("log")
    axes.set_xlabel(horizontal)
    axes.set_xticks(sorted({place for points in lines.values() for place in points}))
    axes.minorticks_off()
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_counted))
    return bool(lines)


def _extremes(spreads: Sequence[Spread]) -> list[list[float]]:
    return [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]


def _counted(value: float, _: object) -> str:
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.plots", description="Draws the plots of a run.")
    parser.add_argument("run", metavar="FILE", type=named_run, help="what the run wrote with --json")
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to draw, as SVG and as PNG")
    given = parser.parse_args()
    print(f"drawn: {', '.join(draw(given.run, given.folder)) or 'nothing'}")


if __name__ == "__main__":
    _main()
