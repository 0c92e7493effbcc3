"""Packets that are lost: a server and its clients in network namespaces, run as a program of its own (`isolated`)."""

import asyncio
import json
import sys
from pathlib import Path

from tests.reliability.network.isolated import NOT_ALLOWED
from tests.reliability.network.storm import Weather, weather_of
from tests.reliability.part import Figures, Trial

_ROOT = Path(__file__).parents[3]


class NotAllowed(Exception):
    """The machine does not let this process have networks of its own. Says why."""


async def packets(count: int, faults: int, trial: Trial) -> list[Figures]:
    """Raises NotAllowed."""
    found = []
    for number in range(count):
        folder = trial.folder / f"packets-{number}"
        folder.mkdir()
        found.append(
            await isolated(weather_of(number, faults), folder, trial.chance("packets", number).random())
        )
        trial.say(f"network: {number + 1} of {count} storms of lost packets")
    return found


async def isolated(weather: Weather, folder: Path, seed: float) -> Figures:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.reliability.network.isolated",
            str(folder),
            *map(str, weather),
            str(seed),
        ),
        cwd=_ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == NOT_ALLOWED:
        raise NotAllowed(said.strip())
    assert process.returncode == 0, said
    figures: Figures = json.loads(said.splitlines()[-1])
    return figures
