"""A PostgreSQL store closes, whatever its work in the background is doing."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from tests.conformance.driver import NewFact
from tests.conformance.streams import PATIENCE_SECONDS, eventually
from tests.postgres.fresh import fresh_url
from tests.stores.opened import commit, opened


async def test_a_store_closes_although_a_cancellation_is_lost_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11 loses one that comes just when a pool gives a connection."""
    give = AsyncConnectionPool.getconn
    asked = asyncio.Event()

    async def give_after_a_cancellation(
        pool: AsyncConnectionPool[AsyncConnection], timeout: float | None = None
    ) -> AsyncConnection:
        if not asked.is_set():
            asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return await give(pool, timeout)

    url = fresh_url(tmp_path)
    async with opened(url), opened(url) as store:
        monkeypatch.setattr(AsyncConnectionPool, "getconn", give_after_a_cancellation)

        async def announced() -> bool:
            """To the other store, as soon as it is known."""
            await commit(store, NewFact())
            return asked.is_set()

        await eventually(announced, bool)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await store.close()
