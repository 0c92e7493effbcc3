"""Network: connections between clients and servers, and between servers and PostgreSQL, that are cut, late, narrow or
half-open; in the full trial also packets that are lost, between network namespaces.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tests.reliability.network.clients import clients
from tests.reliability.network.deadlines import deadlines
from tests.reliability.network.hung import hung_commits
from tests.reliability.network.leases import moves
from tests.reliability.network.packets import NotAllowed, packets
from tests.reliability.network.slowness import slow_subscribers
from tests.reliability.network.storms import storms
from tests.reliability.part import Figures, Part, Trial


class Size(NamedTuple):
    """How many storms there are of each kind, faults in each, and how often leases move."""

    storms: int
    clients: int
    packets: int
    faults: int
    moves: int


SIZES = {"quick": Size(1, 1, 1, 12, 1), "nightly": Size(3, 2, 2, 40, 2), "full": Size(8, 4, 4, 60, 3)}


async def run(size: Size, trial: Trial) -> Figures:
    figures: Figures = {}
    add(figures, await storms(size.storms, size.faults, trial))
    add(figures, await clients(size.clients, size.faults, trial))
    add(figures, await moves(size.moves, trial))
    for try_ in (deadlines, slow_subscribers, hung_commits):
        folder = trial.folder / try_.__name__
        folder.mkdir()
        add(figures, await try_(folder, trial.chance(try_.__name__)))
    try:
        for each in await packets(size.packets, size.faults, trial):
            add(figures, each)
    except NotAllowed as reason:
        trial.say(f"network: no packets were lost: {reason}")
    return figures


def add(figures: Figures, more: Mapping[str, int | float]) -> None:
    """What was longest stays so; all else is counted."""
    for name, value in more.items():
        known = figures.get(name, 0)
        figures[name] = max(known, value) if name.startswith("longest") else known + value


PART = Part("network", "Failing networks", SIZES, run)
