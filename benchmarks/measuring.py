"""A run from its first scenario to its last: what one of them finds is told and kept before the next one begins."""

import asyncio
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Final

import grpc
import psycopg

from benchmarks.facts import FactSource
from benchmarks.ledger import CheckFailed
from benchmarks.machine import description
from benchmarks.presets import Preset
from benchmarks.processes import ProcessFailed
from benchmarks.recorded import Run, write
from benchmarks.report import as_markdown, machine_as_markdown, wanted_as_markdown
from benchmarks.results import Setting, Skipped
from benchmarks.scenarios import SCENARIOS
from benchmarks.wanted import wanted_figures

_EXPECTED: Final = (CheckFailed, ProcessFailed, grpc.aio.AioRpcError, psycopg.Error)
"""What these say is enough. Anything else is a defect of the benchmark's, and is shown with where it came from."""


async def measured_run(
    preset: Preset, source: FactSource, names: Sequence[str], directory: Path, file: Path | None
) -> int:
    """Measures the scenarios and prints what they find; 1 when one has failed. SIGTERM cancels it, which ends the
    servers and removes what they wrote.
    """
    _cancel_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="factstr-benchmark-", dir=directory) as folder:
        run = Run(description(Path(folder)), source.origin, preset)
        print(
            f"# FACTSTR benchmark, {preset.name}\n\n{machine_as_markdown(run.machine, run.data)}\n",
            flush=True,
        )
        for number, name in enumerate(names, 1):
            now = f"{datetime.now().astimezone():%H:%M:%S}"
            print(f"{now} {name} begins, {number} of {len(names)}", file=sys.stderr, flush=True)
            own = Path(folder) / name
            own.mkdir()
            await _measure(run, name, Setting(preset, source, own))
            shutil.rmtree(own)
            run.figures_wanted[:] = wanted_figures(run.results, run.failures, run.skipped)
            if file:
                write(run, file)
    print(f"## The figures that are wanted\n\n{wanted_as_markdown(run.figures_wanted)}", flush=True)
    for name, why in run.failures.items():
        print(f"FAILED: {name}: {why}", file=sys.stderr)
    return 1 if run.failures else 0


async def _measure(run: Run, name: str, setting: Setting) -> None:
    begin = perf_counter()
    try:
        result = await SCENARIOS[name](setting)
    except* Skipped as group:
        run.skipped[name] = "; ".join(map(str, _leaves(group)))
        print(f"## {name}\n\nskipped: {run.skipped[name]}\n", flush=True)
    except* Exception as group:  # noqa: BLE001
        _raise_if_stopped()
        leaves = _leaves(group)
        run.failures[name] = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves)
        for leaf in leaves:
            if not isinstance(leaf, _EXPECTED):
                traceback.print_exception(leaf)
        print(f"{name} FAILED: {run.failures[name]}\n", file=sys.stderr, flush=True)
    else:
        run.results.append(result)
        print(f"{as_markdown(result)}\n{name} took {perf_counter() - begin:.0f} s\n", flush=True)


def _cancel_on_sigterm() -> None:
    """The first time; what ends then must not be disturbed by a second."""
    measuring = asyncio.current_task()
    assert measuring

    def cancel() -> None:
        if not measuring.cancelling():
            measuring.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)


def _raise_if_stopped() -> None:
    """What fails while everything is ended has not failed by itself."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
