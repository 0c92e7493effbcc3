"""Consumers that are lost in many ways: their leases move in time, and what they acknowledge too late moves nothing."""

import pytest

from tests.reliability.network.leases import lost
from tests.reliability.part import Trial


@pytest.mark.timeout(180)
async def test_a_lost_consumers_lease_moves_in_time_and_its_late_acknowledgement_is_refused(
    trial: Trial,
) -> None:
    found = await lost(trial.folder, trial.chance())
    print({way: round(seconds, 1) for way, seconds in found.items()})
    assert len(found) == 9
