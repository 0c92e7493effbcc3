"""Faults in the store: disks under SQLite, PostgreSQL itself, and any call of any store."""

from typing import NamedTuple

from tests.conformance.matrix import STORES
from tests.reliability.part import Figures, Part, Trial
from tests.reliability.store_faults.any_store import fail_calls
from tests.reliability.store_faults.postgres import break_databases
from tests.reliability.store_faults.rounds import Tally
from tests.reliability.store_faults.sqlite import break_disks


class Size(NamedTuple):
    """Rounds."""

    disks: int
    databases: int
    calls: int
    """Of each store."""


SIZES = {"quick": Size(6, 3, 2), "nightly": Size(70, 20, 15), "full": Size(400, 60, 40)}


async def run(size: Size, trial: Trial) -> Figures:
    tally = Tally()
    await break_disks(size.disks, trial, tally)
    await break_databases(size.databases, trial, tally)
    for kind in STORES:
        await fail_calls(size.calls, trial, tally, kind)
    return tally.figures()


PART = Part("store_faults", "Faults in the store", SIZES, run)
