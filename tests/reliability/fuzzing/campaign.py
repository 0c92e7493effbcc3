"""One target fuzzed for a while in a process of its own, and what came of it."""

import asyncio
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.architecture.repository import ROOT
from tests.reliability.fuzzing.seeds import Target
from tests.reliability.part import Trial

_PROGRESS_SECONDS: Final = 10.0
_SLOWEST_INPUT_SECONDS: Final = 20
_START_SECONDS: Final = 120.0
"""For imports and seeds, beyond the time that was asked for, on a machine that has much else to do."""

_SAID: Final = re.compile(r"=== Uncaught Python exception: ===\n(.*?)\nTraceback ", re.DOTALL)
_STATUS: Final = re.compile(r"^#(\d+)\t.*? cov: (\d+) ", re.MULTILINE)
_ARTIFACTS: Final = ("crash-", "timeout-", "oom-", "leak-", "slow-unit-")


class Campaign(NamedTuple):
    """How far a target got."""

    inputs: int
    branches: int
    """Of the service's code, that were taken."""


async def campaign(target: Target, inputs: int, seconds: float, trial: Trial) -> Campaign:
    """Tries inputs until so many or so long. Fails with the first input that breaks a law."""
    folder = trial.folder / target.name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    seeds = list(target.seeds(trial.chance(target.name, "seeds")))
    for number, seed in enumerate(seeds):
        (corpus / f"{number:04}").write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(map(quoted, target.words or (b"\0",))))
    log = folder / "log"
    code = await ended(
        target,
        log,
        *(f"-runs={inputs}", f"-max_total_time={seconds:.0f}", f"-timeout={_SLOWEST_INPUT_SECONDS}"),
        *(f"-seed={trial.chance(target.name).randint(1, 2**31 - 1)}", f"-dict={words}"),
        *(f"-artifact_prefix={folder}/", str(corpus)),
        patience=seconds + _START_SECONDS,
        say=trial.say,
    )
    assert code == 0, failure(target, folder, code)
    tried, branches = map(int, statuses(log)[-1])
    assert tried > len(seeds), f"{target.name}: nothing was tried beyond its {len(seeds)} seeds"
    return Campaign(tried, branches)


def statuses(log: Path) -> list[tuple[str, str]]:
    """How many inputs and branches, from the beginning."""
    return _STATUS.findall(log.read_text(errors="replace"))


def quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    escaped = "".join(f"\\x{byte:02x}" for byte in word)
    return f'"{escaped}"\n'


async def ended(
    target: Target, log: Path, *arguments: str, patience: float, say: Callable[[str], None]
) -> int:
    """Runs the target to its end; its exit code."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.reliability.fuzzing.fuzz", target.name, *arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        async with asyncio.timeout(patience):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PROGRESS_SECONDS):
                        return await process.wait()
                if progress := statuses(log):
                    say("{}: {} inputs, {} branches".format(target.name, *progress[-1]))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def failure(target: Target, folder: Path, code: int) -> str:
    """What the input broke, and the input itself."""
    said = (folder / "log").read_text(errors="replace")
    wrong = "\n".join(_SAID.findall(said)) or f"ended with {code}"
    found = [path for path in folder.iterdir() if path.name.startswith(_ARTIFACTS)]
    inputs = "".join(
        f"\nin base64: {b64encode(path.read_bytes()).decode()}"
        f"\nagain: python -m tests.reliability.fuzzing.fuzz {target.name} {path}"
        for path in found
    )
    kept = [line for line in said.splitlines() if not line.startswith("INFO: Instrumenting")]
    return "\n".join((f"{target.name}: {wrong}{inputs}", *kept[-60:]))
