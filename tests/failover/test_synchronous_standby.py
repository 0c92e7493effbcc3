"""A primary that waits for a standby which is away: nothing is acknowledged or seen until it is on both. After a crash
of the primary it is seen, and still not acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import psycopg
import pytest

from factstr_server.stores.postgres import resolving
from factstr_server.stores.postgres.location import location_of
from tests.conformance.driver import Failure, NewFact, refused
from tests.conformance.streams import Checkpoint, eventually
from tests.failover.proxy import Cut, Proxy
from tests.postgres.cluster import Cluster
from tests.postgres.replay import replayed_head
from tests.sharing.servers import serving

PATIENT = timedelta(seconds=60)


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


async def crash(cluster: Cluster) -> None:
    """And recovery: what was committed there is seen then, whoever else has it."""
    await asyncio.to_thread(cluster.kill)
    await asyncio.to_thread(cluster.start)


async def a_commit_waits(cluster: Cluster) -> None:
    await eventually(lambda: commits_that_wait(cluster), lambda waiting: waiting > 0)


async def test_what_is_found_committed_after_a_crash_is_acknowledged_when_the_standby_has_it_too(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(url, unavailable_wait=PATIENT))
        await store.append_types("before")
        start = await stack.enter_async_context(killed(standby))
        appending = asyncio.create_task(store.append([NewFact("a")], key="k"))
        await a_commit_waits(cluster)
        await crash(cluster)
        await a_commit_waits(cluster)
        assert not appending.done()
        await start()
        answer = await appending
        assert (answer.last, answer.repeated) == (2, False)
        await asyncio.to_thread(cluster.kill)
        schema = location_of(url).schema
        await eventually(lambda: asyncio.to_thread(replayed_head, standby, schema), lambda head: head == 2)
        await asyncio.to_thread(cluster.start)


async def test_what_is_found_committed_after_a_crash_stays_unknown_when_the_standby_does_not_come_back_in_time(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(url, unavailable_wait=timedelta(seconds=2)))
        start = await stack.enter_async_context(killed(standby))
        appending = asyncio.create_task(store.append([NewFact("a")], key="k"))
        await a_commit_waits(cluster)
        await crash(cluster)
        with refused("APPEND_OUTCOME_UNKNOWN"):
            await appending
        await start()


async def test_a_repeat_after_a_crash_is_answered_when_the_standby_has_the_first_too(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(serving(url, unavailable_wait=timedelta(seconds=1)))
        b = await stack.enter_async_context(serving(url, unavailable_wait=PATIENT))
        start = await stack.enter_async_context(killed(standby))
        appending = asyncio.create_task(a.append([NewFact("a")], key="k"))
        await a_commit_waits(cluster)
        await crash(cluster)
        with refused("APPEND_OUTCOME_UNKNOWN"):
            await appending
        repeating = asyncio.create_task(b.append([NewFact("a")], key="k"))
        await a_commit_waits(cluster)
        assert not repeating.done()
        await start()
        answer = await repeating
        assert (answer.last, answer.repeated) == (1, True)


async def test_an_acknowledgement_that_is_found_stored_after_a_crash_is_answered_when_the_standby_has_it_too(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(url, unavailable_wait=PATIENT))
        await store.append_types("a")
        stream = await stack.enter_async_context(store.stream_all_durable("s"))
        [batch] = await stream.batches(1)
        start = await stack.enter_async_context(killed(standby))
        acknowledging = asyncio.create_task(store.acknowledge("s", batch.token))
        await a_commit_waits(cluster)
        await crash(cluster)
        await a_commit_waits(cluster)
        assert not acknowledging.done()
        await start()
        assert await acknowledging == 1


async def test_what_is_found_committed_after_a_crash_is_acknowledged_although_others_hold_the_head_row(
    cluster: Cluster, standby: Cluster, url_by_proxy: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server, whose own commit waits for the standby."""
    monkeypatch.setattr(resolving, "LONGEST_LOCK_SECONDS", 0.1)
    location = location_of(url_by_proxy)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(url_by_proxy, unavailable_wait=PATIENT))
        start = await stack.enter_async_context(killed(standby))
        appending = asyncio.create_task(store.append([NewFact("a")]))
        await a_commit_waits(cluster)
        proxy.reachable = False
        await crash(cluster)
        with cluster.connect() as connection, connection.transaction():
            connection.execute(f"SELECT FROM {location.schema}.head FOR UPDATE".encode())
            proxy.reachable = True
            await a_commit_waits(cluster)
            await start()
            assert (await appending).last == 1


@pytest.mark.parametrize("crashes", [False, True])
async def test_when_an_administrator_ends_the_wait_for_the_standby_the_outcome_is_unknown(
    cluster: Cluster, standby: Cluster, url: str, crashes: bool
) -> None:
    """Which PostgreSQL says in a warning, also where sessions do not want to hear of any."""
    quiet = f"{url}&options=-c%20client_min_messages%3Derror"
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(serving(quiet, unavailable_wait=PATIENT))
        start = await stack.enter_async_context(killed(standby))
        appending = asyncio.create_task(store.append([NewFact("a")], key="k"))
        await a_commit_waits(cluster)
        if crashes:
            await crash(cluster)
            await a_commit_waits(cluster)
        with cluster.connect() as connection:
            connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            )
        with refused("APPEND_OUTCOME_UNKNOWN"):
            await appending
        await start()
        assert (await store.append([NewFact("a")], key="k")).repeated


async def test_without_its_standby_a_server_starts_and_reads_and_its_leases_last(
    cluster: Cluster, standby: Cluster, url: str
) -> None:
    location = location_of(url)

    def signs_of_life() -> list[bool]:
        """Of each server, whether there was one since the standby has gone."""
        with psycopg.connect(location.conninfo) as connection:
            return [
                row[0]
                for row in connection.execute(
                    f"SELECT heartbeat_at > %s::timestamptz FROM {location.schema}.servers".encode(), (gone,)
                )
            ]

    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(serving(url))
        await a.append_types("a")
        stream = await stack.enter_async_context(a.stream_all_durable("s"))
        await stream.started()
        start = await stack.enter_async_context(killed(standby))
        with cluster.connect() as connection:
            [gone] = connection.execute("SELECT clock_timestamp()::text").fetchone() or ()
        b = await stack.enter_async_context(serving(url))
        await eventually(lambda: asyncio.to_thread(signs_of_life), lambda seen: seen == [True, True])
        for store in (a, b):
            assert (await store.query()).numbers == [1]
            assert (await store.durable("s")).active
        with refused("DURABLE_STREAM_ACTIVE"):
            await b.stream_all_durable("s").next()
        await start()
