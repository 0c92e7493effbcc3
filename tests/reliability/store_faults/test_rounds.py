"""Rounds of trouble with every store, under load."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.conformance.matrix import STORES, StoreKind
from tests.reliability.part import Trial
from tests.reliability.store_faults.any_store import fail_calls
from tests.reliability.store_faults.faulty_database import DEFECTS
from tests.reliability.store_faults.faulty_store import Mishap, Times
from tests.reliability.store_faults.part import SIZES
from tests.reliability.store_faults.postgres import break_databases
from tests.reliability.store_faults.rounds import Tally
from tests.reliability.store_faults.sqlite import break_disks

QUICK = SIZES["quick"]

MOST_TRIES = 5
"""Of rounds: what is drawn for a few of them may meet nothing."""

pytestmark = pytest.mark.timeout(180)


async def met(
    rounds: Callable[[Trial, Tally], Awaitable[None]], trial: Trial, *troubles: tuple[str, ...]
) -> Counter[str]:
    """What was counted, once there is some of each of these troubles: of any figure that begins so."""
    tally = Tally()
    for number in range(MOST_TRIES):
        folder = trial.folder / f"try-{number}"
        folder.mkdir()
        await rounds(replace(trial, folder=folder, seed=trial.seed + number), tally)
        found = [name for name, number in tally.counts.items() if number]
        if all(any(name.startswith(trouble) for name in found) for trouble in troubles):
            return tally.counts
    raise AssertionError(f"no trouble of {troubles} in {tally.counts}")


async def test_a_disk_that_fails_and_loses_its_power_takes_nothing_that_was_acknowledged(
    trial: Trial,
) -> None:
    async def rounds(trial: Trial, tally: Tally) -> None:
        await break_disks(QUICK.disks, trial, tally)

    counts = await met(rounds, trial, ("disk calls failed", "disk calls cut"), ("losses of power",))
    assert counts["rounds, a disk under SQLite"] >= QUICK.disks
    assert counts["appends acknowledged"] > QUICK.disks


async def test_a_postgresql_that_fails_anywhere_is_believed_when_it_commits_and_not_before(
    trial: Trial,
) -> None:
    async def rounds(trial: Trial, tally: Tally) -> None:
        await break_databases(QUICK.databases, trial, tally)

    counts = await met(rounds, trial, ("PostgreSQL: ",))
    assert counts["appends acknowledged"] > QUICK.databases


async def test_errors_that_nobody_expects_of_postgresql_are_told_and_make_nothing_false(trial: Trial) -> None:
    async def rounds(trial: Trial, tally: Tally) -> None:
        await break_databases(2, trial, tally, [[DEFECTS]])

    await met(rounds, trial, ("PostgreSQL: internal errors",))


async def test_a_commit_whose_answer_is_lost_is_found_out_and_done_once(trial: Trial) -> None:
    tally = Tally()
    await break_databases(2, trial, tally, [["lost COMMITs"]])
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
    async def rounds(trial: Trial, tally: Tally) -> None:
        await fail_calls(QUICK.calls, trial, tally, kind)

    counts = await met(rounds, trial, (Mishap.FULL, Mishap.REFUSED, Mishap.LOST))
    assert counts["appends acknowledged"] > QUICK.calls
