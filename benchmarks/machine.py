"""Where a run took place: what another run must share to be comparable."""

import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Final

import apsw
import google.protobuf
import grpc

from benchmarks.peer import peer_version

Machine = dict[str, str | int | float]

_ROOT: Final = Path(__file__).parents[1]


def description(folder: Path) -> Machine:
    """The machine, the libraries, the commit, and the disk below `folder`."""
    return {
        "cpu": _after("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "python_step_ns": round(_step_nanoseconds(), 1),
        "grpcio": grpc.__version__,
        "protobuf": google.protobuf.__version__,
        "uvloop": version("uvloop"),
        "sqlite": apsw.sqlite_lib_version(),
        "umadb": peer_version() or "not installed",
        "file_system": file_system(folder),
        "flush_ms": round(_flush_milliseconds(folder), 3),
        "load_average_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }


def _after(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def file_system(folder: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "unknown"


def _flush_milliseconds(folder: Path) -> float:
    """The median of writing a page and forcing it to the disk, which every commit pays once."""
    times = []
    with (folder / "flush").open("wb") as file:
        for _ in range(50):
            begin = perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            times.append(perf_counter() - begin)
    return statistics.median(times) * 1000


class _Step:
    def __init__(self) -> None:
        self._taken = 0

    def take(self) -> None:
        self._taken += 1


def _step_nanoseconds() -> float:
    """The median of a simple method call in a loop. It tells how the interpreter was built, which its version does not:
    without profile-guided optimization it takes up to twice as long, and so does all that is written in Python.
    """
    steps, times = 20_000, []
    step = _Step()
    for _ in range(25):
        begin = perf_counter()
        for _ in range(steps):
            step.take()
        times.append(perf_counter() - begin)
    return statistics.median(times) / steps * 1e9


def _commit() -> str:
    """The commit that was measured; with a plus sign if the sources differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")[:12]
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "+" * bool(changed)


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
