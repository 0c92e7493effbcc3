"""`docs/performance.md`, written from a run's JSON: `python -m benchmarks.page FILE > docs/performance.md`.

What it says of the figures holds whatever they are. The plots it shows are those of `benchmarks.plots`.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import getdoc, getmodule
from typing import Final, NamedTuple

from benchmarks.machine import Machine
from benchmarks.peer import EVERY_MEMBER, ONE_TAG
from benchmarks.recorded import Run, named_run
from benchmarks.report import as_markdown, machine_as_markdown, wanted_as_markdown
from benchmarks.scenarios import SCENARIOS


class Plot(NamedTuple):
    """One of `benchmarks.plots`."""

    says: str
    scenarios: tuple[str, ...]
    """Any of them makes it."""


PLOTS: Final[Mapping[str, Plot]] = {
    "throughput": Plot(
        "Appends of one event a second, against how many callers wait for an answer at once", ("append",)
    ),
    "context-query": Plot(
        "Latency of a context query, against the facts in the log", ("context_query", "scale")
    ),
    "replay": Plot("Facts a second of a replay from the beginning", ("replay",)),
    "delivery": Plot("From an append to its delivery, against how many subscribe", ("delivery",)),
}

_INTRODUCTION: Final = """\
# Performance

What FACTSTR costs, measured as its clients see it, beside what the same machine does without it. This page is made from
the figures of one run (preset `{preset}`, commit `{commit}`) by the commands at its end, and says so where a figure
falls short of what is wanted.{hasty}

Bare times say more of a machine than of a server. What is worth comparing are the ratios in the tables: each was taken
between two things that were measured in turn, within the same seconds.

## The figures that are wanted

{wanted}
"""

_HASTY: Final[Mapping[str, str]] = {
    "quick": "**This run was too short, and its logs were too small, for its figures to count.**",
    "standard": "**This run was shorter than the one whose figures count, and its largest log smaller.**",
}
_FULL: Final = "A `full` run takes its place."

_METHOD: Final = f"""\
A ratio is the median over the rounds of the run, with the lowest and the highest of them behind it. "Not judged" means
that this run measured it at another size than the one that is wanted.

## How it is measured

- **Real servers.** FACTSTR runs as a process of its own with its defaults: SQLite, and no answer before a commit is on
  the disk. One more process plays all callers, over one connection, in Python; subscribers have a process and
  connections of their own. Where there are few cores, clients and servers compete for them, on all sides of each
  comparison.
- **In turn.** What is compared is measured once a round, in the other order in the next, after a round that does not
  count: {{rounds}} rounds for the wanted figures and what stands beside them, {{other_rounds}} for other tables. What
  else the machine does meets all of them. `stuck` and the memory of idle streams are measured once, one case after the
  other.
- **Through which client.** FACTSTR is loaded through a bare gRPC channel: requests are encoded before they are needed,
  answers are parsed afterwards, and a replay is a loop that parses messages, with protobuf's code in C. That shows what
  the server can do, not what a Python program gets. UmaDB is loaded through its public client, `umadb.Client`, which is
  Rust behind Python's objects. What FACTSTR's own client costs above the bare channel is told by `python_client`; no
  ratio to UmaDB contains it.
- **Checked.** After the measurements on a log, or after its filling where they only read, it is read back: it must hold
  exactly what was acknowledged, fact by fact, and every answer must be the right one. `delivery` and `stuck` compare
  what each subscriber was brought instead, which is every batch. Of UmaDB only the number of events and their positions
  are compared with what it acknowledged, and before its replay each event once. A failed check fails the run: of this
  one {{checks}}.
- **The facts** ({{data}}) belong each to a case, and the facts of a case are a context. Incidents, real or generated in
  their likeness, have eleven members and about 290 bytes of JSON.

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

_MACHINE: Final = """\
`python step ns` is how long a simple method call in a loop takes. A Python that was built without profile-guided
optimization takes about twice as long for it as one of the same version that was built with it, and nothing else here
tells them apart: FACTSTR and the empty call are written in Python and slow down with it, UmaDB's server and SQLite do
not.
"""

_REPEATING: Final = """\
## How to repeat it

    python -m benchmarks --preset full --json run.json
    python -m benchmarks.plots run.json docs/performance
    python -m benchmarks.page run.json > docs/performance.md

in the repository's environment (`scripts/environment` makes `.venv`). `full` takes about forty minutes on two slow
cores, and 10 GB of disk below `--directory`; `standard` half of that, with logs of up to a million facts; `quick` two
minutes, and is for the checks rather than for the figures. `--only SCENARIO` measures one of the scenarios above, and
`--help` tells the rest: other facts, another PostgreSQL. Nothing else should run on the machine. Without UmaDB or
without a PostgreSQL, what needs it is left out with a word.
"""


def page(run: Run) -> str:
    """In Markdown."""
    return "\n".join([*_parts(run)])


def _parts(run: Run) -> Iterator[str]:
    yield _INTRODUCTION.format(
        preset=run.preset.name,
        commit=run.machine["commit"],
        hasty="".join(f"\n\n{says} {_FULL}" for name, says in _HASTY.items() if name == run.preset.name),
        wanted=wanted_as_markdown(run.figures_wanted),
    )
    yield _METHOD.format(
        checks=_checks(run), data=run.data, rounds=run.preset.rounds, other_rounds=run.preset.other_rounds
    )
    ran = {result.scenario for result in run.results}
    plots = {name: plot for name, plot in PLOTS.items() if ran.intersection(plot.scenarios)}
    if plots:
        yield "## Plots\n"
        yield "Points are medians over the rounds, shades and thin lines the extremes.\n"
    for name, plot in plots.items():
        yield f"![{plot.says}](performance/{name}.svg)\n"
    for result in run.results:
        about = getdoc(getmodule(SCENARIOS[result.scenario])) or ""
        yield as_markdown(replace(result, checks=[]), about)
    yield f"## The machine\n\n{machine_as_markdown(_place(run.machine), run.data)}\n\n{_MACHINE}"
    yield _REPEATING


def _checks(run: Run) -> str:
    failed = ", ".join(f"{name} ({why})" for name, why in run.failures.items())
    count = sum(len(result.checks) for result in run.results)
    return f"FAILED: {failed}" if failed else f"all {count} held"


def _place(machine: Machine) -> Machine:
    """Without how the command was called: that is where somebody keeps files."""
    return {name: value for name, value in machine.items() if name != "command"}


def _main() -> None:
    parser = ArgumentParser(
        prog="python -m benchmarks.page", description="Writes a run as a page of Markdown."
    )
    parser.add_argument("run", metavar="FILE", type=named_run, help="what the run wrote with --json")
    sys.stdout.write(page(parser.parse_args().run))


if __name__ == "__main__":
    _main()
