"""Upgrades: stores that earlier versions have written, and servers of two versions on one PostgreSQL."""

from collections import Counter
from typing import NamedTuple

from tests.reliability.part import Figures, Part, Trial
from tests.reliability.upgrade.next_format import take_over
from tests.reliability.upgrade.opening import openings
from tests.reliability.upgrade.rolling import NEIGHBOURS, Rollout


class Size(NamedTuple):
    every_opening: bool
    """Also what no format needs any more."""
    neighbours: tuple[str, ...]
    rollouts: int
    """Beside each neighbour."""
    take_overs: int
    leases: bool
    """Whether it is waited for those of servers that are gone."""
    commits: int
    """In each state of an upgrade, at most."""


SIZES = {
    "quick": Size(False, ("7e7765b",), 1, 1, False, 30),
    "nightly": Size(True, tuple(NEIGHBOURS), 5, 3, True, 100),
    "full": Size(True, tuple(NEIGHBOURS), 20, 10, True, 150),
}


async def run(size: Size, trial: Trial) -> Figures:
    figures: Counter[str] = Counter()
    for opening in openings(every=size.every_opening):
        folder = trial.folder / opening.name
        folder.mkdir()
        figures["facts of stores of earlier versions compared"] += await opening.do(opening.fixture, folder)
        figures["stores of earlier versions opened"] += 1
    trial.say(f"upgrade: {figures['stores of earlier versions opened']} stores opened")
    for number in range(size.rollouts):
        for name in size.neighbours:
            folder = trial.folder / f"{name}-{number}"
            folder.mkdir()
            chance = trial.chance("roll out", name, number)
            rollout = Rollout(NEIGHBOURS[name], folder, chance, rough=size.leases and number % 2 > 0)
            figures += await rollout.run(size.commits)
            trial.say(f"upgrade: {number + 1} of {size.rollouts} rolling upgrades from {name}")
    for number in range(size.take_overs):
        folder = trial.folder / f"next-{number}"
        folder.mkdir()
        chance = trial.chance("take over", number)
        figures += await take_over(folder, chance, size.commits, leases=size.leases)
        trial.say(f"upgrade: {number + 1} of {size.take_overs} upgrades to a next format")
    return dict(figures)


PART = Part("upgrade", "Upgrades", SIZES, run)
