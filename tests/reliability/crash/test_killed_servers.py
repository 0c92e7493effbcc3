"""Servers and databases that are killed under load."""

from tests.reliability.crash.sqlite import kill_servers
from tests.reliability.part import Trial


async def test_a(trial: Trial) -> None:
    print(await kill_servers(5, trial))
