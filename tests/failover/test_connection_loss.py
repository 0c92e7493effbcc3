"""A PostgreSQL that is killed and comes back: servers wait for it, say so, and go on by themselves."""

import asyncio
import json
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import product

import grpc
import pytest

from factstr.v1 import event_store_service_pb2
from tests.conformance.driver import Failure, NewFact, refused
from tests.conformance.streams import Batch, Checkpoint, Started, Waiting, eventually
from tests.conformance.wire import new_events, status_of
from tests.failover.health import SERVES, health, is_away, is_back
from tests.histories.history import History
from tests.histories.linearizability import problems
from tests.postgres.cluster import Cluster
from tests.sharing.accounts import ALL, MIXED, OF_TYPE, SELECTIONS, logged
from tests.sharing.recording import Consumer, Recorder, whole_log
from tests.sharing.servers import serving
from tests.sharing.writing import Load, write_the_end

PATIENT = timedelta(seconds=60)
IMPATIENT = timedelta(seconds=0.3)


async def kill(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kill)


async def start(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.start)


async def test_readiness_follows_the_store_and_the_process_stays_alive(cluster: Cluster, url: str) -> None:
    async with serving(url) as store:
        assert await health(store) == SERVES
        for _ in range(2):
            await kill(cluster)
            await is_away(store)
            await start(cluster)
            await is_back(store)
            assert (await store.append([NewFact()])).committed == 1


async def test_during_an_outage_appends_wait_within_the_setting_and_within_their_own_deadline(
    cluster: Cluster, url: str
) -> None:
    async with (
        serving(url, unavailable_wait=PATIENT) as patient,
        serving(url, unavailable_wait=IMPATIENT) as impatient,
    ):
        await patient.append([NewFact("before")])
        await kill(cluster)
        waiting = [
            asyncio.create_task(patient.append([NewFact(f"waiting {number}")], key=f"waiting {number}"))
            for number in range(5)
        ]
        querying = asyncio.create_task(patient.query())

        request = event_store_service_pb2.AppendRequest(events=new_events([NewFact("in a hurry")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await patient._events.Append(request, timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await impatient._events.Append(request)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        status = status_of(caught.value)
        assert status is not None
        assert any(detail.TypeName() == "google.rpc.RetryInfo" for detail in status.details)
        for call in (impatient.append([NewFact()]), impatient.query(), impatient.durable("s")):
            with refused("STORE_UNAVAILABLE") as refusal:
                await call
            assert "nothing was committed" in refusal.value.message

        assert not any(task.done() for task in (*waiting, querying))
        await start(cluster)
        answers = await asyncio.gather(*waiting)
        assert sorted(answer.first for answer in answers) == [2, 3, 4, 5, 6]
        assert not any(answer.repeated for answer in answers)
        assert (await querying).numbers[:1] == [1]
        # Those that gave up while they waited took their appends along.
        log = await whole_log(impatient)
        assert [batch.facts[0].event_type for batch in log] == [
            "before",
            *(f"waiting {number}" for number in range(5)),
        ]


async def test_streams_go_on_through_an_outage_and_say_how_far_they_are_meanwhile(
    cluster: Cluster, url: str
) -> None:
    async with serving(url, unavailable_wait=IMPATIENT) as store:
        await store.append_types("a")
        async with (
            store.stream_all() as live,
            store.stream_all(after=0) as replayed,
            store.stream_all_durable("s", window=1) as durable,
        ):
            assert (await live.started()).after == 1
            assert [batch.last for batch in await replayed.batches(1)] == [1]
            [first] = await durable.batches(1)
            await kill(cluster)
            await is_away(store)
            for stream in (live, replayed, durable):
                for _ in range(2):
                    assert (await stream.next_of(Checkpoint)).position == 1
            with refused("STORE_UNAVAILABLE"):
                await store.acknowledge("s", first.token)
            await start(cluster)

            async def acknowledged() -> bool:
                try:
                    return await store.acknowledge("s", first.token) == 1
                except Failure as failure:
                    if failure.reason != "STORE_UNAVAILABLE":
                        raise
                    return False

            await eventually(acknowledged, bool)
            await store.append_types("b")
            for stream in (live, replayed, durable):
                [batch] = await stream.batches(1)
                assert (batch.first, batch.facts[0].event_type) == (2, "b")


async def test_a_replay_that_needs_the_store_waits_for_it_and_says_how_far_it_is_meanwhile(
    cluster: Cluster, url: str
) -> None:
    payload = json.dumps("x" * 1_000)
    batches = 120
    async with serving(url) as store:
        facts = [NewFact("a", payload)] * 100
        await asyncio.gather(*(store.append(facts) for _ in range(batches)))
    # Another server: nothing of it is in its memory.
    async with serving(url, unavailable_wait=IMPATIENT) as store, store.stream_all(after=0) as stream:
        seen = await stream.batches(1)
        await kill(cluster)
        await is_away(store)
        checkpoints = 0
        while checkpoints < 2:
            item = await stream.next()
            if isinstance(item, Checkpoint):
                assert item.position == seen[-1].last
                checkpoints += 1
            else:
                assert isinstance(item, Batch)
                seen.append(item)
        assert len(seen) < batches
        await start(cluster)
        seen += await stream.batches(batches - len(seen))
        assert [(batch.first, batch.last) for batch in seen] == [
            (100 * number + 1, 100 * number + 100) for number in range(batches)
        ]


async def test_streams_that_begin_during_an_outage_begin_when_the_store_is_back(
    cluster: Cluster, url: str
) -> None:
    async with serving(url, unavailable_wait=PATIENT) as store:
        await store.append_types("a")
        await store.append_types("b")
        await kill(cluster)
        await is_away(store)
        async with (
            store.stream_all() as live,
            store.stream_all(after=1) as replayed,
            store.stream_all_durable("s") as durable,
        ):
            for stream in (live, replayed, durable):
                assert await stream.next_within(0.2) is None
            await start(cluster)
            assert await live.started() == Started(2)
            assert await replayed.started() == Started(1)
            assert [batch.last for batch in await replayed.batches(1)] == [2]
            assert (await durable.started()).after == 0
            assert [batch.last for batch in await durable.batches(2)] == [1, 2]


async def test_a_lease_outlasts_a_short_outage_and_who_waits_for_it_goes_on_waiting(
    cluster: Cluster, url: str
) -> None:
    async with serving(url, unavailable_wait=PATIENT) as a, serving(url, unavailable_wait=PATIENT) as b:
        await a.append_types("a")
        async with a.stream_all_durable("s") as stream:
            epoch = (await stream.started()).lease_epoch
            [batch] = await stream.batches(1)
            async with b.stream_all_durable("s", wait=True) as waiting:
                assert isinstance(await waiting.next(), Waiting)
                await kill(cluster)
                await asyncio.gather(is_away(a), is_away(b))
                await start(cluster)
                assert await b.acknowledge("s", batch.token) == 1
                assert (await a.durable("s")).lease_epoch == epoch
                await b.append_types("b")
                assert [batch.last for batch in await stream.batches(1)] == [2]
                await stream.close()
                started = await waiting.next_of(Started)
                assert started.after == 1
                assert started.lease_epoch > epoch
                assert (await waiting.next_of(Batch)).last == 2


async def test_who_waits_for_a_lease_goes_on_waiting_through_an_outage_longer_than_calls_wait(
    cluster: Cluster, url: str
) -> None:
    async with (
        serving(url, unavailable_wait=IMPATIENT) as a,
        serving(url, unavailable_wait=IMPATIENT) as b,
        a.stream_all_durable("s") as stream,
    ):
        epoch = (await stream.started()).lease_epoch
        async with AsyncExitStack() as stack:
            waiting = []
            for _ in range(2):
                waiting.append(await stack.enter_async_context(b.stream_all_durable("s", wait=True)))
                first = await waiting[-1].next()
                assert isinstance(first, Waiting)
            await kill(cluster)
            await asyncio.gather(is_away(a), is_away(b))
            for each in waiting:
                for _ in range(2):
                    assert await each.next_of(Waiting) == first
            await start(cluster)
            await stream.close()
            for each in waiting:
                started = await each.next_of(Started)
                assert started.lease_epoch > epoch
                epoch = started.lease_epoch
                await each.close()


@pytest.mark.timeout(120)
async def test_outages_under_load_lose_and_repeat_nothing(cluster: Cluster, url: str) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    history = History()
    patience = timedelta(seconds=1)
    async with serving(url, unavailable_wait=patience) as a, serving(url, unavailable_wait=patience) as b:
        stores = (a, b)
        streams = [
            *(Recorder(store, selection, 0) for store, selection in product(stores, SELECTIONS)),
            Consumer(stores, ALL, "all"),
            Consumer(stores[::-1], OF_TYPE, "of a type"),
            Consumer(stores, MIXED, "mixed"),
        ]
        await asyncio.gather(*(stream.begin() for stream in streams))
        load = Load(stores, 6, history, seed)
        load.begin()
        for is_long in (False, True, False):
            await load.made(30)
            await kill(cluster)
            if is_long:
                await load.refused()
            await start(cluster)
        await load.made(30)
        await load.end()
        await write_the_end(a, history)
        await asyncio.gather(*(stream.ended(30) for stream in streams))
        log = await whole_log(a)
        assert await whole_log(b) == log
        assert problems(history, logged(log)) == []
        for stream in streams:
            stream.check(log)
    print(load)
