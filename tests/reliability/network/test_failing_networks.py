"""Networks that fail under load, and one by one."""

import pytest

from tests.reliability.network.clients import used
from tests.reliability.network.deadlines import deadlines
from tests.reliability.network.packets import NotAllowed, isolated
from tests.reliability.network.part import SIZES
from tests.reliability.network.slowness import slow_subscribers
from tests.reliability.network.storm import weather_of
from tests.reliability.network.storms import storm_on_postgres, storm_on_sqlite
from tests.reliability.part import Trial

FAULTS = SIZES["quick"].faults
WEATHER = weather_of(0, FAULTS)

pytestmark = pytest.mark.timeout(180)


async def test_over_links_that_fail_nothing_is_lost_or_repeated_on_sqlite(trial: Trial) -> None:
    figures = await storm_on_sqlite(WEATHER, trial.folder, trial.chance())
    assert figures["appends acknowledged"] > FAULTS
    assert figures["leases"] > 4


async def test_over_links_that_fail_those_to_the_database_too_nothing_is_lost_or_repeated(
    trial: Trial,
) -> None:
    figures = await storm_on_postgres(WEATHER, trial.folder, trial.chance())
    assert figures["appends acknowledged"] > FAULTS
    assert figures["leases"] > 4


async def test_over_links_that_fail_the_python_client_goes_on_by_itself(trial: Trial) -> None:
    figures = await used(WEATHER, trial.folder, trial.chance())
    assert figures["facts appended by the Python client"] > FAULTS


async def test_where_packets_are_lost_nothing_else_is(trial: Trial) -> None:
    try:
        figures = await isolated(WEATHER, trial.folder, trial.chance().random())
    except NotAllowed as reason:
        pytest.skip(str(reason))
    assert figures["packets lost"] > 0
    assert figures["appends acknowledged"] > FAULTS


async def test_calls_on_dead_links_end_at_their_deadlines_and_their_keys_settle_what_came_of_them(
    trial: Trial,
) -> None:
    assert (await deadlines(trial.folder, trial.chance()))["calls ended at their deadlines"] == 18


async def test_a_subscriber_that_gets_a_few_bytes_at_a_time_holds_up_nobody(trial: Trial) -> None:
    await slow_subscribers(trial.folder, trial.chance())
