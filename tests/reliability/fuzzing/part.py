"""Inputs that nobody thought of: each target's answers are those of an oracle, however it is fed.

Atheris looks for inputs that take new branches of the service, and goes on from those.
"""

from dataclasses import dataclass
from typing import Final

from tests.reliability.fuzzing.campaign import campaign
from tests.reliability.fuzzing.seeds import TARGETS
from tests.reliability.part import Figures, Part, Trial


@dataclass(frozen=True)
class Size:
    """Of each target, whichever comes first."""

    inputs: int
    seconds: float


async def run(size: Size, trial: Trial) -> Figures:
    figures: Figures = {}
    for target in TARGETS:
        inputs, branches = await campaign(target, size.inputs, size.seconds, trial)
        figures[f"{target.called} tried"] = inputs
        figures[f"branches taken by {target.called}"] = branches
    return figures


PART: Final = Part(
    "fuzzing",
    "Inputs that nobody thought of get the right answer",
    {"quick": Size(5_000, 5), "nightly": Size(10**9, 60), "full": Size(10**9, 200)},
    run,
)
