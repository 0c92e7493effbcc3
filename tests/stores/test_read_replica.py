"""A read replica makes reads cheaper for the primary, and never different: behind, gone, or of another history."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from factstr_server.contract.query import EVERYTHING
from factstr_server.stores.postgres import replica as postgres_replica
from factstr_server.stores.postgres.link import READING_CONNECTIONS
from factstr_server.stores.postgres.store import PostgresStore
from factstr_server.stores.protocol import BatchWindow, StoreError, StoreOptions, Window
from tests.conformance.driver import NewFact, of_type
from tests.conformance.streams import PATIENCE_SECONDS
from tests.postgres.cluster import Cluster
from tests.postgres.replay import replayed_head
from tests.stores.opened import commit, compiled
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def primary() -> Iterator[Cluster]:
    with Cluster.create() as cluster:
        yield cluster


@asynccontextmanager
async def opened(primary: Cluster, replica: Cluster | str) -> AsyncIterator[PostgresStore]:
    read_store = replica if isinstance(replica, str) else replica.url()
    store = PostgresStore(primary.url(), StoreOptions(read_store=read_store))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def wait_until_replayed(standby: Cluster, head: int) -> None:
    wait_until(lambda: replayed_head(standby) >= head, "the standby has replayed the log")


def pages_read(cluster: Cluster) -> int:
    """Functions called there by the store's reads."""
    with cluster.connect() as connection:
        row = connection.execute(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions "
            "WHERE funcname IN ('candidates', 'joined_batches')"
        ).fetchone()
    return int(row[0]) if row else 0


async def answers(store: PostgresStore, last: int) -> list[object]:
    """What a query and a replay of everything say."""
    query = compiled(of_type("a"))
    return [
        await store.read_context(query, Window()),
        await store.read_facts(query, Window(after=1, before=last + 1)),
        await store.read_batches(query, BatchWindow(0, last)),
        await store.read_batches(EVERYTHING, BatchWindow(0, last, joined=True)),
        await store.head(),
    ]


async def test_pages_come_from_the_replica_and_are_the_same(primary: Cluster) -> None:
    with primary.connect() as connection:
        connection.execute("ALTER SYSTEM SET track_functions = 'all'")
        connection.execute("SELECT pg_reload_conf()")
    async with opened(primary, primary) as store:
        for number in range(20):
            last = (await commit(store, NewFact("a"), NewFact("b", f"{number}"))).last_sequence_number
        alone = await answers(store, last)
    with primary.standby("reader") as standby:
        wait_until_replayed(standby, last)
        async with opened(primary, standby) as store:
            assert await answers(store, last) == alone
        wait_until(lambda: pages_read(standby) >= 4, "the standby has counted what it served")


async def test_a_replica_that_is_behind_is_waited_for_and_then_passed_over(primary: Cluster) -> None:
    with primary.standby("reader") as standby:
        async with opened(primary, standby) as store:
            first = await commit(store, NewFact("a"))
            wait_until_replayed(standby, 1)
            with standby.connect() as connection:
                connection.execute("SELECT pg_wal_replay_pause()")
            second = await commit(store, NewFact("a"))
            read = await store.read_context(compiled(of_type("a")), Window())
            assert read.context_version == second.last_sequence_number == first.last_sequence_number + 1
            assert len(read.page.records) == 2
            with standby.connect() as connection:
                connection.execute("SELECT pg_wal_replay_resume()")
            assert len((await store.read_context(compiled(of_type("a")), Window())).page.records) == 2


async def test_of_several_replicas_behind_one_url_each_is_waited_for_by_itself(primary: Cluster) -> None:
    """As behind a balancer: what one has replayed, another may not have."""
    with primary.standby("ahead") as ahead, primary.standby("behind") as behind:
        async with opened(primary, primary) as store:
            await commit(store, NewFact("a"))
        wait_until_replayed(behind, 1)
        with behind.connect() as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
        hosts = f"127.0.0.1:{ahead.port},127.0.0.1:{behind.port}"
        both = f"postgresql://postgres@{hosts}/postgres?load_balance_hosts=random"
        async with opened(primary, both) as store:

            async def ranges(up_to: int) -> list[tuple[int, int]]:
                return (await store.read_batches(compiled(of_type("a")), BatchWindow(0, up_to))).ranges

            # As many at once as there may be connections, so that both are asked.
            await asyncio.gather(*(ranges(1) for _ in range(READING_CONNECTIONS)))
            last = (await commit(store, NewFact("a"))).last_sequence_number
            wait_until_replayed(ahead, last)
            for _ in range(READING_CONNECTIONS):
                assert await ranges(last) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("listen", ["on", "off"])
async def test_a_replica_that_goes_its_own_way_is_not_read_from_any_more(
    primary: Cluster, listen: str
) -> None:
    with primary.standby("other") as other:
        async with opened(primary, other.url(listen=listen)) as store:
            await commit(store, NewFact("a"))
            wait_until_replayed(other, 1)
            before = await answers(store, 1)
            other.promote()
            async with opened(other, other) as gone:
                await commit(gone, NewFact("b"))
            assert await answers(store, 1) == before
            last = (await commit(store, NewFact("a"))).last_sequence_number
            assert (await store.read_facts(compiled(of_type("b")), Window(before=last + 1))).records == []


async def test_a_replica_that_is_gone_costs_no_answer(primary: Cluster) -> None:
    with primary.standby("reader") as standby:
        async with opened(primary, standby) as store:
            last = (await commit(store, NewFact("a"))).last_sequence_number
            before = await answers(store, last)
            standby.kill()
            assert await answers(store, last) == before
        async with opened(primary, standby) as store:
            assert await answers(store, last) == before


async def test_a_replica_that_hangs_is_passed_over(primary: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_replica, "_LONGEST_READ_SECONDS", 0.5)
    async with opened(primary, primary) as store:
        last = (await commit(store, NewFact("a"))).last_sequence_number
    with primary.standby("reader") as standby:
        wait_until(lambda: replayed_head(standby) >= last, "the standby has replayed the log")
        async with opened(primary, standby) as store:
            before = await answers(store, last)
            standby.freeze()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await answers(store, last) == before
            standby.thaw()


async def test_a_former_primary_that_went_its_own_way_is_not_read_from(primary: Cluster) -> None:
    with primary.standby("other") as other:
        async with opened(primary, primary) as store:
            await commit(store, NewFact("a"))
        wait_until_replayed(other, 1)
        other.promote()
        async with opened(other, other) as store:
            await commit(store, NewFact("b"))
        async with opened(primary, other) as store:
            last = (await commit(store, NewFact("a"))).last_sequence_number
            page = (await store.read_context(compiled(of_type("a")), Window())).page
            assert len(page.records) == 2
            assert (await store.read_facts(compiled(of_type("b")), Window(before=last + 1))).records == []


def test_a_read_store_is_a_postgresql_one() -> None:
    with pytest.raises(StoreError, match="postgresql://"):
        PostgresStore("postgresql://localhost/a", StoreOptions(read_store="sqlite:///a.db"))
