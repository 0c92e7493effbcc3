"""Rounds of trouble with every store, under load."""

import pytest

from tests.conformance.matrix import STORES, StoreKind
from tests.reliability.part import Trial
from tests.reliability.store_faults.any_store import fail_calls
from tests.reliability.store_faults.faulty_store import Mishap, Times
from tests.reliability.store_faults.part import SIZES
from tests.reliability.store_faults.postgres import break_databases
from tests.reliability.store_faults.rounds import Tally
from tests.reliability.store_faults.sqlite import break_disks

QUICK = SIZES["quick"]

pytestmark = pytest.mark.timeout(180)


async def test_a_disk_that_fails_and_loses_its_power_takes_nothing_that_was_acknowledged(
    trial: Trial,
) -> None:
    tally = Tally()
    await break_disks(QUICK.disks, trial, tally)
    assert tally.counts["rounds, a disk under SQLite"] == QUICK.disks
    assert tally.counts["appends acknowledged"] > QUICK.disks


async def test_a_postgresql_that_fails_anywhere_is_believed_when_it_commits_and_not_before(
    trial: Trial,
) -> None:
    tally = Tally()
    await break_databases(QUICK.databases, trial, tally)
    assert tally.counts["appends acknowledged"] > QUICK.databases


async def test_a_commit_whose_answer_is_lost_is_found_out_and_done_once(trial: Trial) -> None:
    tally = Tally()
    await break_databases(2, trial, tally, ["lost COMMITs"])
    assert tally.counts["PostgreSQL: COMMITs or their answers lost"] >= 2


async def test_an_append_is_not_refused_for_another_one_that_finds_no_room(trial: Trial) -> None:
    tally = Tally()
    # What comes while a commit takes its time is one group.
    times = Times((Mishap.FULL, Mishap.DELAYED), 2, ("commit",), seconds=3)
    await fail_calls(3, trial, tally, STORES[0], [times])
    assert tally.counts[Mishap.FULL] >= 2


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.name)
async def test_a_store_that_fails_in_any_call_makes_no_refusal_and_no_answer_false(
    trial: Trial, kind: StoreKind
) -> None:
    tally = Tally()
    await fail_calls(QUICK.calls, trial, tally, kind)
    assert tally.counts["appends acknowledged"] > QUICK.calls
