"""Every operation in any order: all stores answer as a plain list does."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.postgres.fresh import drop_schemas
from tests.reliability.part import Figures, Part, Trial
from tests.reliability.properties.machine import EveryStore

_PROGRESS: Final = 50
"""Histories."""


@dataclass(frozen=True)
class Size:
    histories: int
    steps: int
    """Of each history, at most."""
    shrink: bool
    """Looks for the shortest history that fails, which takes minutes."""


async def run(size: Size, trial: Trial) -> Figures:
    """In a thread, because hypothesis waits for every step of its machine."""
    return await asyncio.to_thread(_run, size, trial)


def _run(size: Size, trial: Trial) -> Figures:
    tally = Counter[str]()
    failures: list[str] = []
    numbers = count(1)

    def machine() -> EveryStore:
        number = next(numbers)
        if number % _PROGRESS == 0:
            trial.say(f"properties: {number} histories, {tally['steps']} steps")
            drop_schemas()
        folder = trial.folder / str(number)
        folder.mkdir()
        return EveryStore(runner, folder, tally, failures.append)

    phases = (Phase.generate, Phase.shrink) if size.shrink else (Phase.generate,)
    limits = settings(
        max_examples=size.histories,
        stateful_step_count=size.steps,
        phases=phases,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    # A function that makes one is as good as a class, though its type does not say so.
    seeded: Any = seed(trial.chance("histories").getrandbits(64))(machine)
    with asyncio.Runner() as runner:
        try:
            run_state_machine_as_test(seeded, settings=limits)
        except Flaky as flaky:
            # Of what did not fail again hypothesis says little.
            raise AssertionError("\n".join((f"it failed once: {flaky}", *failures[:1]))) from flaky
    return dict(tally)


PART: Final = Part(
    "properties",
    "Every store answers the same, and as the contract says",
    {
        "quick": Size(18, 40, shrink=False),
        "nightly": Size(300, 50, shrink=True),
        "full": Size(800, 50, shrink=True),
    },
    run,
)
