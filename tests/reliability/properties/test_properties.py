"""A few histories on every store."""

import pytest

from tests.reliability.part import Trial
from tests.reliability.properties.part import PART


@pytest.mark.timeout(240)
async def test_every_store_answers_as_a_plain_list_does(trial: Trial) -> None:
    print(await PART.run(PART.sizes["quick"], trial))
