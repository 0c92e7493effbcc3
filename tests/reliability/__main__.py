"""The command: tries every part of the lab in a size, and keeps the figures."""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.postgres.fresh import drop_schemas
from tests.reliability.part import PRESETS, Part, Trial
from tests.reliability.parts import PARTS

_DESCRIPTION: Final = """\
Tries to make FACTSTR lose, repeat, reorder or invent a fact: killed servers and
databases, failing disks and networks, concurrent decisions, random requests,
long load, upgrades; and seeded bugs, each of which must be caught. Each part
runs in a process of its own, two at a time.
"""
_EPILOG: Final = """\
quick takes three minutes and is what the tests do; full an hour and a half, on
two cores; nightly about half of that. It ends with 0 when every promise held, 1
when one was broken, 2 for wrong usage.
"""
_AT_ONCE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    for folder in (given.plots, given.json and given.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    if given.alone:
        return asyncio.run(_alone(given))
    results = asyncio.run(_all(given))
    failed = [result["part"] for result in results if "error" in result]
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"FAILED: {', '.join(failed)}" if failed else "every promise held")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/reliability",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--preset", choices=PRESETS, default="full", help="how much is tried; default: full")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--seed", type=int, help="repeats what was drawn at random, in any part; default: a new one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="where plots go")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser


async def _all(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Of each part what `_alone` has written."""
    room = asyncio.Semaphore(_AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="factstr-reliability-") as folder:

        async def tried(part: Part[Any]) -> dict[str, Any]:
            figures = Path(folder) / f"{part.name}.json"
            words = ["--alone", "--only", part.name, "--preset", given.preset, "--json", str(figures)]
            words += ["--plots", str(given.plots.resolve())] if given.plots else []
            words += ["--seed", str(given.seed)] if given.seed is not None else []
            async with room:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.reliability", *words),
                    stdin=subprocess.DEVNULL,
                    # Parts start processes while gRPC runs, as tests do.
                    env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "0"},
                )
                code = await process.wait()
            if not figures.exists():
                return _begun(part, given) | {"error": f"it ended with {code}"}
            result: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
            return result

        return await asyncio.gather(*(tried(part) for part in _chosen(given)))


async def _alone(given: argparse.Namespace) -> int:
    """One part, in this process."""
    [part] = _chosen(given)
    seed = given.seed if given.seed is not None else random.SystemRandom().getrandbits(32)
    result = _begun(part, given) | {"seed": seed}
    print(f"{part.name}: begins, --seed {seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"factstr-{part.name}-") as folder:
        trial = Trial(Path(folder), seed, lambda line: print(line, flush=True), given.plots)
        try:
            result["figures"] = await part.run(part.sizes[given.preset], trial)
        except Exception as error:  # noqa: BLE001  (whatever it is, the promise was not kept)
            traceback.print_exc()
            result["error"] = f"{type(error).__name__}: {error}"
            print(f"{part.name}: FAILED, --seed {seed}: {result['error']}", flush=True)
    result["seconds"] = round(time.monotonic() - began)
    drop_schemas()
    given.json.write_text(json.dumps(result), encoding="utf-8")
    print(f"{part.name}: ended after {result['seconds']} s", flush=True)
    return 1 if "error" in result else 0


def _begun(part: Part[Any], given: argparse.Namespace) -> dict[str, Any]:
    """What is known of a result before there is one."""
    return {
        "part": part.name,
        "title": part.title,
        "preset": given.preset,
        "seed": given.seed,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": 0,
    }


def _chosen(given: argparse.Namespace) -> list[Part[Any]]:
    return [part for part in PARTS if not given.only or part.name in given.only]


def _commit() -> str:
    """Marked where files are changed; nothing where there is no git."""
    words = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=, changed"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
