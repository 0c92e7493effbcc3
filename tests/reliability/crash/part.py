"""Crashes: SIGKILL at random moments under load, of servers on SQLite, and of PostgreSQL and the servers on it."""

from typing import NamedTuple

from tests.reliability.crash.postgres import kill_databases
from tests.reliability.crash.sqlite import kill_servers
from tests.reliability.part import Figures, Part, Trial


class Size(NamedTuple):
    """Rounds, each with one kill or two at once."""

    sqlite: int
    postgres: int


SIZES = {"quick": Size(6, 3), "nightly": Size(60, 30), "full": Size(300, 100)}


async def run(size: Size, trial: Trial) -> Figures:
    return dict(await kill_servers(size.sqlite, trial) + await kill_databases(size.postgres, trial))


PART = Part("crash", "Killed servers and databases", SIZES, run)
