"""`docs/performance.md`, written from a run's JSON: `python -m benchmarks.page FILE > docs/performance.md`.

What it says of the figures holds whatever they are. The plots it shows are those of `benchmarks.plots`.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from inspect import getdoc, getmodule
from pathlib import Path
from typing import Final

from benchmarks.machine import Machine
from benchmarks.peer import EVERY_MEMBER, ONE_TAG
from benchmarks.recorded import Run, read
from benchmarks.report import as_markdown, machine_as_markdown, wanted_as_markdown
from benchmarks.scenarios import SCENARIOS

PLOTS: Final = {
    "throughput": "Appends of one event a second, against how many callers wait for an answer at once",
    "context-query": "Latency of a context query, against the facts in the log",
    "replay": "Facts a second of a replay from the beginning",
    "delivery": "From an append to its delivery, against how many subscribe",
}

_INTRODUCTION: Final = """\
# Performance

What FACTSTR costs, measured as its clients see it, beside what the same machine does without it. This page is made from
the figures of one run (preset `{preset}`, commit `{commit}`) by the commands at its end, and says so where a figure
falls short of what is wanted.{hasty}

Bare times say more of a machine than of a server. What is worth comparing are the ratios: each was taken between two
things that were measured in turn, within the same seconds.

## The figures that are wanted

{wanted}
"""

_HASTY: Final = """

**This run was too short, and its logs were too small, for its figures to count.** A `full` run takes its place."""

_METHOD: Final = f"""\
A ratio is the median over the rounds of the run, with the lowest and the highest of them behind it. "Not judged" means
that this run measured it at another size than the one that is wanted.

## How it is measured

- **Real servers.** FACTSTR runs as a process of its own with its defaults: SQLite, and no answer before a commit is on
  the disk. One more process plays all clients, over one connection, in Python. Where there are few cores, clients and
  servers compete for them, on all sides of each comparison.
- **In turn.** All variants of a comparison are measured once a round, in another order in the next, after a round that
  does not count. What else the machine does meets all of them.
- **Checked.** After each measurement the log is read back: it must hold exactly what was acknowledged, fact by fact,
  and every answer must be the right one. A failed check fails the run: of this one {{checks}}.
- **The facts** ({{data}}) are incidents: eleven members and about 290 bytes of JSON each. Every one belongs to a case,
  and the facts of a case are a context.

What FACTSTR stands beside:

- **The empty call**: a server of the same kind (Python, `grpc.aio`, uvloop, the same options) whose handlers do
  nothing. It is the least that a call costs here, whoever answers it.
- **SQLite alone**: the same facts as rows of a plain table without an index, as durable, without a server.
- **UmaDB**, an event store with conditional appends like these, written in Rust: its server and its own Python client,
  each a process of its own, with its defaults, which are as durable. Its threads share one client, which is when it is
  fastest, and what it appends lies ready as FACTSTR's requests do. Its queries can name only what was given to it as a
  tag, FACTSTR's any member of any payload. So it is measured twice. `{ONE_TAG}`: each event has the least that a
  context needs. `{EVERY_MEMBER}`: the nearest that it comes to what FACTSTR can be asked. Facts and their bytes are
  the same.
"""

_REPEATING: Final = """\
## How to repeat it

    python -m benchmarks --preset full --json run.json
    python -m benchmarks.plots run.json docs/performance
    python -m benchmarks.page run.json > docs/performance.md

in the repository's environment (`scripts/environment` makes `.venv`). `full` takes an hour or two, and 20 GB of disk
below `--directory`; `standard` a quarter of that, with logs of up to a million facts; `quick` two minutes, and is for
the checks rather than for the figures. `--only SCENARIO` measures one of the scenarios above. Nothing else should run
on the machine. Without UmaDB or without a PostgreSQL, what needs it is left out with a word.
"""


def page(run: Run) -> str:
    """In Markdown."""
    return "\n".join([*_parts(run)])


def _parts(run: Run) -> Iterator[str]:
    yield _INTRODUCTION.format(
        preset=run.preset.name,
        commit=run.machine["commit"],
        hasty="" if run.preset.name == "full" else _HASTY,
        wanted=wanted_as_markdown(run.figures_wanted),
    )
    yield _METHOD.format(checks=_checks(run), data=run.data)
    yield "## Plots\n"
    yield "Points are medians over the rounds, shades and thin lines the extremes.\n"
    for name, says in PLOTS.items():
        yield f"![{says}](performance/{name}.svg)\n"
    for result in run.results:
        about = getdoc(getmodule(SCENARIOS[result.scenario])) or ""
        yield as_markdown(replace(result, checks=[]), about)
    yield f"## The machine\n\n{machine_as_markdown(_place(run.machine), run.data)}\n"
    yield _REPEATING


def _checks(run: Run) -> str:
    failed = ", ".join(f"{name} ({why})" for name, why in run.failures.items())
    count = sum(len(result.checks) for result in run.results)
    return f"FAILED: {failed}" if failed else f"all {count} held"


def _place(machine: Machine) -> Machine:
    """Without how the command was called: that is where somebody keeps files."""
    return {name: value for name, value in machine.items() if name != "command"}


if __name__ == "__main__":
    [file] = sys.argv[1:]
    sys.stdout.write(page(read(Path(file))))
