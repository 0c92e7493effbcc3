"""`factstr-server`, which on SIGUSR2 says what it holds: in the file that its first argument names, each time anew."""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from itertools import count
from pathlib import Path

_numbers = count(1)


def report(_signal: int, _frame: object) -> None:
    gc.collect()
    # What was freed and is only kept for later is not held.
    ctypes.CDLL(None).malloc_trim(0)
    kinds = Counter(map(type, gc.get_objects()))
    held = {
        "tasks": len(asyncio.all_tasks()),
        "objects": kinds.total(),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  (what it gives is only counted)
        "threads": _of_process("Threads"),
        "memory_kib": _of_process("VmRSS"),
        "sqlite_kib": _of_sqlite() // 1024,
        "kinds": {f"{kind.__module__}.{kind.__qualname__}": number for kind, number in kinds.items()},
    }
    # Whoever looks finds one whole report or the other.
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"number": next(_numbers), "held": held}), encoding="utf-8")
    new.replace(path)


def _of_process(name: str) -> int:
    [line] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")
    ]
    return int(line.split()[1])


def _of_sqlite() -> int:
    """What it has allocated: its caches, above all."""
    if "apsw" not in sys.modules:
        return 0
    import apsw

    return apsw.status(apsw.SQLITE_STATUS_MEMORY_USED)[0]


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, report)

    from factstr_server.cli import main

    main()
