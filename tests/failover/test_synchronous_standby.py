"""A primary that waits for a standby which is away: nothing is acknowledged or seen until it is on both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from tests.conformance.driver import Failure, NewFact, refused
from tests.conformance.streams import Checkpoint, eventually
from tests.failover.proxy import Cut, Proxy
from tests.postgres.cluster import Cluster
from tests.sharing.servers import serving


@pytest.fixture(scope="module")
def standby(cluster_of_module: Cluster) -> Iterator[Cluster]:
    """Synchronous."""
    with cluster_of_module.standby("standby") as standby:
        cluster_of_module.make_synchronous("standby")
        yield standby


async def commits_that_wait(cluster: Cluster) -> int:
    def count() -> int:
        with cluster.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    return await asyncio.to_thread(count)


@asynccontextmanager
async def killed(standby: Cluster) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Until it is started again, at the latest at the end of the block: a server that stops waits for its commit."""

    async def start() -> None:
        if not standby.runs:
            await asyncio.to_thread(standby.start)

    await asyncio.to_thread(standby.kill)
    try:
        yield start
    finally:
        await start()


async def test_without_its_standby_nothing_is_acknowledged_or_seen_and_all_of_it_when_it_is_back(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    # Less than it takes: a commit under way is not given up.
    patience = timedelta(seconds=1)
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(serving(url, unavailable_wait=patience)) for _ in range(2)]
        await a.append_types("before")
        streams = [await stack.enter_async_context(store.stream_all()) for store in (a, b)]
        for stream in streams:
            assert (await stream.started()).after == 1
        start = await stack.enter_async_context(killed(standby))
        first = asyncio.create_task(a.append([NewFact("first")], key="first"))
        await eventually(lambda: commits_that_wait(cluster), lambda waiting: waiting > 0)
        second = asyncio.create_task(a.append([NewFact("second")], key="second"))
        for stream in streams:
            for _ in range(2):
                assert (await stream.next_of(Checkpoint)).position == 1
        assert not first.done()
        assert not second.done()
        for store in (a, b):
            assert [fact.event_type for fact in (await store.query()).facts] == ["before"]
            assert await store.head() == 1
        await start()
        assert (await first).last == 2
        assert (await second).last == 3
        for stream in streams:
            assert [batch.facts[0].event_type for batch in await stream.batches(2)] == ["first", "second"]
        assert (await b.append([NewFact("first")], key="first")).repeated


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_commit_that_waits_for_the_standby_while_its_connection_is_lost_is_neither_lost_nor_repeated(
    cluster: Cluster, standby: Cluster, url_by_proxy: str, proxy: Proxy, comes_back: bool
) -> None:
    patience = timedelta(seconds=60 if comes_back else 0.5)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(url_by_proxy, unavailable_wait=patience))
        stream = await stack.enter_async_context(store.stream_all())
        await stream.started()
        start = await stack.enter_async_context(killed(standby))
        proxy.cut_next_commit(Cut.MEANWHILE)
        appending = asyncio.create_task(store.append([NewFact("a")], key="k"))
        await eventually(lambda: commits_that_wait(cluster), lambda waiting: waiting > 0)
        if comes_back:
            # It has a new connection, and sees that the transaction is under way.
            await store.query()
            assert not appending.done()
            await start()
            answer = await appending
            assert (answer.last, answer.repeated) == (1, False)
        else:
            with refused("APPEND_OUTCOME_UNKNOWN"):
                await appending
            await start()
        assert proxy.cuts == 1

        async def retried() -> int:
            try:
                repeat = await store.append([NewFact("a")], key="k")
            except Failure as failure:
                if failure.reason != "STORE_UNAVAILABLE":
                    raise
                return 0
            assert repeat.repeated
            return repeat.last

        assert await eventually(retried, bool) == 1
        assert await store.head() == 1
        assert [batch.shape for batch in await stream.batches(1)] == [(1, 1, [1])]
