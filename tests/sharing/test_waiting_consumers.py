"""What consumers that wait for a lease, for hours perhaps, cost the database and everybody else in it."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import datetime

import psycopg
import pytest

from tests.conformance.streams import Waiting
from tests.postgres.cluster import Cluster
from tests.sharing.servers import serving

SERVERS = 3
HEARTBEATS = 3
"""Of streams, for which the database is watched."""
SIGN_OF_LIFE_SECONDS = 5.0
"""So often a server says that it lives, which is one transaction."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One that does nothing of its own accord."""
    with Cluster.create() as cluster:
        with cluster.connect() as connection:
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        yield cluster


def numbers_given(connection: psycopg.Connection) -> tuple[int, datetime]:
    """To transactions that wrote, locked a row or told others something, so far."""
    row = connection.execute(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, clock_timestamp()"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_consumers_that_wait_at_several_servers_leave_an_idle_database_alone(cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(serving(cluster.url())) for _ in range(SERVERS)]
        holding = await stack.enter_async_context(stores[0].stream_all_durable("s"))
        await holding.started()
        waiting = [
            await stack.enter_async_context(store.stream_all_durable("s", wait=True))
            for store in (*stores, *stores)
        ]
        for _ in range(2):
            await asyncio.gather(*(stream.next_of(Waiting) for stream in waiting))
        with cluster.connect() as connection:
            before, begun = numbers_given(connection)
            for _ in range(HEARTBEATS):
                await asyncio.gather(*(stream.next_of(Waiting) for stream in waiting))
            after, ended = numbers_given(connection)
        signs_of_life = SERVERS * ((ended - begun).total_seconds() / SIGN_OF_LIFE_SECONDS + 1)
        assert after - before <= signs_of_life
