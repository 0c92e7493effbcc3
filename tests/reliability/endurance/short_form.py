"""A short form of the test, which is long enough for builds that are broken: it is not one of the ordinary tests."""

import pytest

from tests.reliability.endurance.enduring import STORES, Size, endure
from tests.reliability.part import Trial

SHORT = Size(warm_up=4, load=16, apart=0.5)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("store", STORES)
async def test_under_a_mixed_load_nothing_grows_but_the_log(store: str, trial: Trial) -> None:
    await endure(store, SHORT, trial)
