"""Stores that earlier versions have written, and servers of two versions on one PostgreSQL."""

import os

import pytest

from tests.reliability.part import Trial
from tests.reliability.upgrade.earlier import NoHistory
from tests.reliability.upgrade.next_format import take_over
from tests.reliability.upgrade.opening import Opening, openings
from tests.reliability.upgrade.part import SIZES
from tests.reliability.upgrade.rolling import NEIGHBOURS, Rollout

QUICK = SIZES["quick"]


@pytest.mark.parametrize("opening", openings(every=QUICK.every_opening), ids=lambda opening: opening.name)
async def test_a_store_of_an_earlier_version_holds_what_was_written_whatever_is_done_to_it(
    opening: Opening, trial: Trial
) -> None:
    assert await opening.do(opening.fixture, trial.folder) > 5_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize("neighbour", QUICK.neighbours)
async def test_two_versions_serve_one_log_while_one_replaces_the_other_and_goes_back(
    neighbour: str, trial: Trial
) -> None:
    try:
        rollout = Rollout(NEIGHBOURS[neighbour], trial.folder, trial.chance("roll out"))
    except NoHistory as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    figures = await rollout.run(QUICK.commits)
    assert figures["durable streams handed over"] == 4
    assert figures["conflicts"] > 5
    assert figures["live streams opened"] > 8


@pytest.mark.timeout(120)
async def test_servers_that_do_not_know_a_next_format_commit_nothing_in_it(trial: Trial) -> None:
    figures = await take_over(trial.folder, trial.chance("take over"), QUICK.commits, leases=QUICK.leases)
    assert figures["appends acknowledged"] > 2 * QUICK.commits
