"""Servers that are stopped in order, under load."""

import pytest

from tests.reliability.crash.mortal import MortalServer, Returning
from tests.reliability.crash.sqlite import look_at
from tests.reliability.load.excuses import SERVER_DIES
from tests.reliability.load.workload import Workload
from tests.reliability.part import Trial
from tests.stores.opened import url_of


@pytest.mark.timeout(120)
async def test_sigterm_under_load_ends_the_server_cleanly_frees_the_file_and_loses_nothing(
    trial: Trial,
) -> None:
    database = trial.folder / "facts.db"
    server = MortalServer(trial.folder, url_of(database))
    await server.start()
    try:
        async with Returning(server.address) as store:
            work = Workload([store], SERVER_DIES, trial.chance("stop"))
            work.begin()
            for _ in range(2):
                await work.made(60)
                await server.stop()
                assert not database.with_name("facts.db-wal").exists()
                work.check_history(look_at(database))
                await server.start()
                await work.repeat_keys(3)
            await work.end()
            await work.verdict(store)
            await server.stop()
    finally:
        server.kill()
