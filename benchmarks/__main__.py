"""The command: which scenarios, how long, and where the figures go."""

import argparse
import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import facts, postgres
from benchmarks.facts import FactsUnusable, fact_source
from benchmarks.measuring import measured_run
from benchmarks.presets import PRESETS
from benchmarks.scenarios import SCENARIOS

_DESCRIPTION: Final = """\
Measures FACTSTR beside empty calls, beside rows inserted without a server, and
beside UmaDB where it is installed; and checks that each log holds exactly what
was acknowledged. Tables go to the output as they are done.
"""

_EPILOG: Final = f"""\
quick takes two minutes and is for the checks; standard about twenty; full
forty, and 10 GB of disk. Nothing else should run on the machine.

environment:
  {facts.VARIABLE}
      a file of facts to append, NDJSON, gzip or plain. Every line is
      {facts.SHAPE}
      with anything else beside the case. The facts of a case are a context.
      A line whose payload holds {facts.COMMON_MEMBER} lets queries be measured that ask
      for a common member as well. Default: incidents, real ones where they lie
      beside the repository, else generated ones.
  {postgres.VARIABLE}
      a PostgreSQL server to measure on, as a URL: postgresql://…. What is made
      there stands in schemas of its own, and is dropped. Default: one that the
      benchmark starts, where PostgreSQL's programs are found.

It ends with 0 when every check held, 1 when a scenario failed, 2 for wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every check held, 1 when a scenario failed, 2 for wrong usage; 130 or 143 when a signal has stopped it."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.plots and not given.json:
        parser.error("--plots needs --json: the plots are drawn from it")
    try:
        _make_places(given)
        source = fact_source()
    except (OSError, FactsUnusable) as error:
        parser.error(str(error))
    # What is loaded once need not be looked at whenever garbage is collected.
    gc.collect()
    gc.freeze()
    try:
        code = uvloop.run(
            measured_run(
                PRESETS[given.preset], source, given.only or list(SCENARIOS), given.directory, given.json
            )
        )
    except (asyncio.CancelledError, KeyboardInterrupt) as stopped:
        print("stopped; the databases are removed", file=sys.stderr)
        # As a shell says it of a program that a signal has ended.
        return 128 + (signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM)
    if given.plots:
        # In a process of its own: what draws is large, and has no place in one that measures.
        words = [sys.executable, "-m", "benchmarks.plots", str(given.json), str(given.plots)]
        code = subprocess.run(words, check=False).returncode or code
    return code


def _make_places(given: argparse.Namespace) -> None:
    """Finds out before anything is measured whether it can be written. An earlier run's file is left as it is."""
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.open("ab").close()
    for folder in (given.plots, given.directory):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"nothing can be written to {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default="standard", help="how much to measure (default standard)"
    )
    parser.add_argument(
        "--only",
        metavar="SCENARIO",
        action="append",
        choices=SCENARIOS,
        help=f"one of {', '.join(SCENARIOS)}; may be repeated",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write all figures there, after each scenario anew"
    )
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw the plots there, as SVG and as PNG")
    parser.add_argument(
        "--directory",
        metavar="DIR",
        type=Path,
        default=Path("/var/tmp"),
        help="where the databases are made and removed (default /var/tmp: a disk, unlike some /tmp)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
