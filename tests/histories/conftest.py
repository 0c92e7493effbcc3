"""An empty history for each test."""

import pytest

from tests.histories.history import History


@pytest.fixture
def history() -> History:
    return History()
