"""What must not take longer than is promised, however a consumer or a server is lost. All at once: it is waiting."""

import pytest

from tests.reliability.network.hung import hung_commits
from tests.reliability.network.leases import lost
from tests.reliability.network.together import together
from tests.reliability.part import Trial


@pytest.mark.timeout(180)
async def test_leases_of_lost_consumers_move_and_commits_of_hung_servers_end_in_time(trial: Trial) -> None:
    moved, ended = await together(
        (lost(trial.folder / "leases", trial.chance()), hung_commits(trial.folder, trial.chance()))
    )
    print(moved, ended)
    assert len(moved) == 9
