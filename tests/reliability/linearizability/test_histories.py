"""Decisions through two servers at once are as if made one after the other."""

import pytest

from tests.reliability.linearizability.part import PART
from tests.reliability.part import Trial


@pytest.mark.timeout(120)
async def test_histories_of_contended_decisions_through_two_servers_are_linearizable(trial: Trial) -> None:
    figures = await PART.run(PART.sizes["quick"], trial)
    assert figures["conflicts"] > 50
    assert figures["queries"] > 200
