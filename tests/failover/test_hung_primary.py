"""A primary that hangs: its connections live, and it answers nothing. It is given up like one that has gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Final

import pytest

from factstr_server.stores.postgres import store as postgres_store
from factstr_server.stores.postgres import watching
from tests.conformance.driver import NewFact, refused
from tests.conformance.streams import Checkpoint, Started
from tests.failover.health import SERVES, health, is_away, is_back
from tests.failover.succession import Succession
from tests.postgres.cluster import Cluster
from tests.reliability.network.link import DEAD, Link
from tests.sharing.recording import whole_log
from tests.sharing.servers import serving

PATIENT: Final = timedelta(seconds=20)
IMPATIENT: Final = timedelta(seconds=0.3)

AT_ONCE_SECONDS: Final = 5.0
"""For what was under way when the database was given up."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _silence_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LONGEST_SILENCE_SECONDS", 1.0)


@asynccontextmanager
async def frozen(cluster: Cluster) -> AsyncIterator[None]:
    await asyncio.to_thread(cluster.freeze)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.thaw)


async def test_while_the_database_hangs_calls_are_refused_and_when_it_goes_on_everything_does(
    cluster: Cluster, url: str
) -> None:
    async with serving(url, unavailable_wait=IMPATIENT) as store:
        await store.append_types("a")
        async with store.stream_all() as live, store.stream_all_durable("s") as durable:
            assert (await live.started()).after == 1
            epoch = (await durable.started()).lease_epoch
            assert [batch.last for batch in await durable.batches(1)] == [1]
            async with frozen(cluster):
                # Nobody has noticed yet.
                hanging = [
                    asyncio.create_task(call)
                    for call in (store.append([NewFact("lost")]), store.query(), store.reset("other", 0))
                ]
                await is_away(store)
                calls = (store.append([NewFact("lost")]), store.query(), store.durable("s"))
                for call in (*hanging, *calls):
                    with refused("STORE_UNAVAILABLE"):
                        async with asyncio.timeout(AT_ONCE_SECONDS):
                            await call
                for _ in range(2):
                    assert (await live.next_of(Checkpoint)).position == 1
            await is_back(store)
            assert await health(store) == SERVES
            assert (await store.append_types("b")).last == 2
            assert [batch.facts[0].event_type for batch in await live.batches(1)] == ["b"]
            assert [batch.last for batch in await durable.batches(1)] == [2]
            assert (await store.durable("s")).lease_epoch == epoch


async def test_what_a_hung_primary_was_asked_is_asked_of_its_heir_although_it_never_answers() -> None:
    async with AsyncExitStack() as stack:
        succession = await stack.enter_async_context(Succession.of(1))
        heir = await succession.prepare()
        hung = succession.primary
        url = succession.url(schema="factstr", connect_timeout="2")
        store = await stack.enter_async_context(serving(url, unavailable_wait=PATIENT))
        await store.append_types("a")
        live = await stack.enter_async_context(store.stream_all())
        await live.started()
        durable = await stack.enter_async_context(store.stream_all_durable("s"))
        epoch = (await durable.started()).lease_epoch
        await stack.enter_async_context(frozen(hung))
        appending = [
            asyncio.create_task(store.append([NewFact(f"{number}")], key=f"{number}")) for number in range(3)
        ]
        querying = asyncio.create_task(store.query())
        # Its lease is given back, which hangs too.
        await durable.close()
        await is_away(store)
        await succession.promote()
        async with asyncio.timeout(PATIENT.total_seconds()):
            assert sorted([(await append).last for append in appending]) == [2, 3, 4]
            assert 1 in (await querying).numbers
        assert [batch.last for batch in await live.batches(3)] == [2, 3, 4]
        async with store.stream_all_durable("s", wait=True) as again:
            assert (await again.next_of(Started)).lease_epoch > epoch
            assert [batch.last for batch in await again.batches(4)] == [1, 2, 3, 4]
        assert len(await whole_log(store)) == 4
        assert succession.primary is heir


@pytest.mark.parametrize("number", range(3))
async def test_a_connection_that_alone_is_dead_is_given_up_whichever_it_is(
    cluster: Cluster, url: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in between keeps it up towards the server, and nothing arrives."""
    monkeypatch.setattr(watching, "_LONGEST_COMMIT_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(postgres_store, "_LONGEST_READ_SECONDS", 0.5)
    async with (
        Link.to(f"127.0.0.1:{cluster.port}", Random(number)) as link,
        serving(url.replace(f":{cluster.port}/", f":{link.port}/"), unavailable_wait=PATIENT) as store,
    ):
        await store.append_types("before")
        async with store.stream_all_durable("s") as stream:
            await stream.started()
        await store.free("s")
        link.connections[number].meets(DEAD)
        async with asyncio.timeout(PATIENT.total_seconds()):
            assert (await store.append_types("after")).last == 2
            # Whichever of the pool's they get.
            for cursor in (1, 0, 2):
                assert (await store.reset("s", cursor)).cursor == cursor
                assert (await store.query()).numbers == [1, 2]
            await is_back(store)
