"""The command: which scenarios, how long, and where the figures go."""

import argparse
import gc
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import grpc
import psycopg
import uvloop

from benchmarks.facts import VARIABLE, fact_source
from benchmarks.ledger import CheckFailed
from benchmarks.machine import description
from benchmarks.presets import PRESETS
from benchmarks.processes import ProcessFailed
from benchmarks.recorded import Run, write
from benchmarks.report import as_markdown, machine_as_markdown, wanted_as_markdown
from benchmarks.results import Result, Setting, Skipped
from benchmarks.scenarios import SCENARIOS
from benchmarks.wanted import wanted_figures


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every check held, 1 when one did not, 2 for wrong usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.plots and not given.json:
        parser.error("--plots needs --json: the plots are drawn from it")
    code = uvloop.run(_run(given))
    if given.plots:
        # In a process of its own: what draws is large, and has no place in one that measures.
        words = [sys.executable, "-m", "benchmarks.plots", str(given.json), str(given.plots)]
        subprocess.run(words, check=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures FACTSTR beside empty calls, and checks that its log holds what was acknowledged.",
        epilog=f"The environment variable {VARIABLE} names a file of facts to append (NDJSON, gzip or plain).",
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
        help=f"one of {', '.join(SCENARIOS)}",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw the plots there, as SVG and as PNG")
    parser.add_argument(
        "--directory",
        metavar="DIR",
        type=Path,
        default=Path("/var/tmp"),
        help="where the databases are made and removed (default /var/tmp: a disk, unlike some /tmp)",
    )
    return parser


async def _run(given: argparse.Namespace) -> int:
    preset = PRESETS[given.preset]
    source = fact_source()
    # What is loaded once need not be looked at whenever garbage is collected.
    gc.collect()
    gc.freeze()
    results: list[Result] = []
    failures: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="factstr-benchmark-", dir=given.directory) as directory:
        machine = description(Path(directory))
        print(
            f"# FACTSTR benchmark, {preset.name}\n\n{machine_as_markdown(machine, source.origin)}\n",
            flush=True,
        )
        for name in given.only or SCENARIOS:
            folder = Path(directory) / name
            folder.mkdir()
            begin = perf_counter()
            try:
                result = await SCENARIOS[name](Setting(preset, source, folder))
            except* Skipped as group:
                skipped[name] = "; ".join(map(str, _leaves(group)))
                print(f"## {name}\n\nskipped: {skipped[name]}\n", flush=True)
            except* (CheckFailed, ProcessFailed, grpc.aio.AioRpcError, psycopg.Error) as group:
                failures[name] = "; ".join(map(str, _leaves(group)))
                print(f"{name} FAILED: {failures[name]}\n", file=sys.stderr, flush=True)
            else:
                results.append(result)
                print(f"{as_markdown(result)}\n{name} took {perf_counter() - begin:.0f} s\n", flush=True)
    figures = wanted_figures(results, failures, skipped)
    print(f"## The figures that are wanted\n\n{wanted_as_markdown(figures)}", flush=True)
    run = Run(machine, source.origin, preset, results, figures, failures, skipped)
    if given.json:
        write(run, given.json)
    return 1 if failures else 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    sys.exit(main())
