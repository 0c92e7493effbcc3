"""The plot of one store under load, as PNG, drawn from its samples: `python -m tests.reliability.endurance.plots`."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plots import styled
from tests.reliability.endurance.bookkeeping import Row
from tests.reliability.endurance.flatness import unexplained_mib
from tests.reliability.endurance.sampling import read_samples

Panel = Mapping[str, str]
"""By the name of what is sampled, what it is called."""

_MEMORY: Final[Panel] = {
    "memory MiB": "resident",
    "unexplained MiB": "of this, beside facts, caches, and what gRPC loses",
    "tail MiB": "the newest facts, as the server counts them: at most 32",
    "SQLite's MiB": "SQLite's caches: at most 96",
}
_HELD: Final[Panel] = {
    "tasks": "asyncio tasks",
    "descriptors": "open file descriptors",
    "threads": "threads",
    "open calls": "calls under way",
}
_WAL: Final[Panel] = {"WAL MiB": "write-ahead log", "database MiB": "database file: grows with its facts"}
_TABLES: Final[Panel] = {
    "bookkeeping KiB": "tables of heads, leases and servers, KiB",
    "dead rows": "dead rows in them",
    "locks": "locks held",
    "connections": "connections",
}


def draw(rows: Sequence[Row], title: str, file: Path) -> None:
    with styled():
        figure = Figure(figsize=(10, 7), layout="constrained")
        (memory, held), (kept, rate) = figure.subplots(2, 2)
        figure.suptitle(title)
        rows = [row | {"unexplained MiB": unexplained_mib(row)} for row in rows]
        shown = {name: label for name, label in _MEMORY.items() if any(row[name] for row in rows)}
        _lines(memory, rows, shown, "Memory of the server", "MiB")
        _lines(held, rows, _HELD, "What calls hold", "count")
        if "WAL MiB" in rows[0]:
            _lines(kept, rows, _WAL, "SQLite's files", "MiB")
        else:
            rows = [row | {"bookkeeping KiB": row["bookkeeping MiB"] * 1024} for row in rows]
            _lines(kept, rows, _TABLES, "What PostgreSQL keeps beside the facts", "count, or KiB")
        _lines(
            rate,
            _rates(rows),
            {"calls": "calls", "streams opened": "streams opened, of these", "facts": "facts committed"},
            "The load",
            "a second",
        )
        figure.savefig(file, dpi=110)


def _rates(rows: Sequence[Row]) -> Sequence[Row]:
    return [
        {"seconds": after["seconds"]}
        | {
            name: (after[name] - before[name]) / (after["seconds"] - before["seconds"])
            for name in ("calls", "streams opened", "facts")
        }
        for before, after in pairwise(rows)
    ]


def _lines(axes: Axes, rows: Sequence[Row], panel: Panel, title: str, unit: str) -> None:
    minutes = rows[-1]["seconds"] > 180
    times = [row["seconds"] / (60 if minutes else 1) for row in rows]
    for name, label in panel.items():
        axes.plot(times, [row[name] for row in rows], linewidth=1, label=label)
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_xlabel("minutes" if minutes else "seconds")
    axes.set_xlim(0, times[-1])
    top = axes.get_ylim()[1]
    # Room for what the lines are called.
    axes.set_ylim(0, top * (1 + 0.09 * (len(panel) + 1)))
    axes.legend(loc="upper left", fontsize=8)


def _main() -> None:
    parser = ArgumentParser(prog="python -m tests.reliability.endurance.plots", description=__doc__)
    parser.add_argument("samples", metavar="CSV", type=Path)
    parser.add_argument("plot", metavar="PNG", type=Path)
    parser.add_argument("title")
    given = parser.parse_args()
    draw(read_samples(given.samples), given.title, given.plot)


if __name__ == "__main__":
    _main()
