"""Two servers on one fresh PostgreSQL schema, in this process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.postgres.fresh import fresh_url
from tests.sharing.servers import Remote, serving


class Two(NamedTuple):
    """Servers that share a store."""

    a: Remote
    b: Remote


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """They tell each other to look."""
    url = fresh_url(tmp_path)
    async with serving(url) as a, serving(url) as b:
        yield Two(a, b)


@pytest.fixture
async def two_that_poll(tmp_path: Path) -> AsyncIterator[Two]:
    """They look now and then, as behind a transaction pooler."""
    url = f"{fresh_url(tmp_path)}&listen=off"
    async with serving(url) as a, serving(url) as b:
        yield Two(a, b)


@pytest.fixture(params=["two", "two_that_poll"], ids=["listening", "polling"])
def two_either_way(request: pytest.FixtureRequest) -> Two:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Two)
    return found
