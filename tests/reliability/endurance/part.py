"""Load over time: a server of each store under a mix of all calls, at once, and whether anything grows."""

import asyncio

from tests.reliability.endurance.enduring import STORES, Size, endure
from tests.reliability.part import Figures, Part, Trial

SIZES = {"quick": Size(6, 54, 1, 40), "nightly": Size(20, 580, 3), "full": Size(20, 1_780, 6)}


async def run(size: Size, trial: Trial) -> Figures:
    found = await asyncio.gather(*(endure(store, size, trial) for store in STORES))
    return {
        f"{store}: {name}": value
        for store, figures in zip(STORES, found, strict=True)
        for name, value in figures.items()
    }


PART = Part("endurance", "Load over time", SIZES, run)
