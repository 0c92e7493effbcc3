"""Servers and databases that are killed under load."""

import pytest

from tests.reliability.crash.part import SIZES
from tests.reliability.crash.postgres import kill_databases
from tests.reliability.crash.sqlite import kill_servers
from tests.reliability.part import Trial

QUICK = SIZES["quick"]


@pytest.mark.timeout(180)
async def test_a_server_killed_at_any_moment_leaves_what_it_acknowledged_once_and_whole_on_sqlite(
    trial: Trial,
) -> None:
    figures = await kill_servers(QUICK.sqlite, trial)
    assert figures["SIGKILLs of the server, SQLite"] == QUICK.sqlite
    assert figures["appends acknowledged"] > QUICK.sqlite
    assert figures["retries after a kill, answered as at first"] > QUICK.sqlite


@pytest.mark.timeout(180)
async def test_a_database_killed_at_any_moment_leaves_what_servers_acknowledged_once_and_whole(
    trial: Trial,
) -> None:
    figures = await kill_databases(QUICK.postgres, trial)
    assert figures["SIGKILLs of PostgreSQL"] + figures["SIGKILLs of a server, PostgreSQL"] >= QUICK.postgres
    assert figures["appends acknowledged"] > QUICK.postgres
    assert figures["retries after a kill, answered as at first"] > QUICK.postgres
