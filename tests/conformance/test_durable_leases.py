"""One active consumer per name: leases, the epochs that tell them apart, and waiting for one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.conformance.conftest import MakeStore
from tests.conformance.driver import Driver, Options, of_type, refused
from tests.conformance.streams import AT_HEAD, Batch, Started, Stream, Waiting, eventually

A = of_type("a")
BEATING = Options(heartbeat_interval=timedelta(milliseconds=150))


@pytest.fixture
async def beating(make_store: MakeStore) -> AsyncIterator[Driver]:
    """A store of three facts whose streams are never silent for long."""
    async with make_store(BEATING) as driver:
        for _ in range(3):
            await driver.append_types("a")
        yield driver


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Three batches of one."""
    for _ in range(3):
        await store.append_types("a")
    return store


async def test_a_second_consumer_is_refused_while_the_first_is_active(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as first:
        epoch = (await first.started()).lease_epoch
        holder = (await stocked.durable("s")).holder
        async with stocked.stream_all_durable("s") as second:
            with refused("DURABLE_STREAM_ACTIVE") as caught:
                await second.next()
        assert caught.value.metadata == {"holder": holder, "lease_epoch": str(epoch)}
        assert caught.value.code in {None, "FAILED_PRECONDITION"}
        assert [batch.last for batch in await first.batches(3)] == [1, 2, 3]
    async with stocked.stream_all_durable("s") as second:
        assert (await second.started()).lease_epoch > epoch


async def test_other_names_are_not_concerned(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as one, stocked.stream_all_durable("S") as other:
        assert isinstance(await one.next(), Started)
        assert isinstance(await other.next(), Started)


async def test_a_consumer_that_comes_back_at_once_does_not_meet_its_own_lease(stocked: Driver) -> None:
    """Where the goodbye comes first, as it does in one process; over a network it asks to wait."""
    for _ in range(10):
        async with stocked.stream_all_durable("s", wait=True) as stream:
            await stream.next_of(Started)


async def test_epochs_rise_with_every_lease_reset_and_deletion_whatever_the_name(stocked: Driver) -> None:
    epochs = []
    for name in ("s", "t", "s"):
        async with stocked.stream_all_durable(name) as stream:
            epochs.append((await stream.started()).lease_epoch)
            assert (await stocked.durable(name)).lease_epoch == epochs[-1]
        await stocked.free(name)
    epochs.append((await stocked.reset("t", 1)).lease_epoch)
    epochs.append((await stocked.reset("t", 1)).lease_epoch)
    await stocked.delete("s")
    async with stocked.stream_all_durable("s") as stream:
        epochs.append((await stream.started()).lease_epoch)
        epochs.append((await stocked.reset("s", 2, force=True)).lease_epoch)
    assert epochs == sorted(set(epochs))
    assert epochs[5] >= epochs[4] + 2, "the deletion took one of its own"


async def test_epochs_never_repeat_across_a_restart_and_deletions(persistent_store: Driver) -> None:
    store = persistent_store
    seen = []
    for round_number in range(4):
        async with store.stream_all_durable("s") as stream:
            seen.append((await stream.started()).lease_epoch)
        await store.free()
        if round_number % 2:
            await store.delete("s")
        await store.restart()
    assert seen == sorted(set(seen))


async def test_a_token_of_a_lease_that_another_consumer_took_over_is_refused(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
        await stocked.acknowledge("s", batches[0].token)
    await stocked.free()
    async with stocked.stream_all_durable("s") as stream:
        epoch = (await stream.started()).lease_epoch
        for batch in batches:
            with refused("DURABLE_STREAM_LEASE_LOST") as caught:
                await stocked.acknowledge("s", batch.token)
            assert int(caught.value.metadata["lease_epoch"]) < epoch
            assert caught.value.code in {None, "ABORTED"}
        assert (await stocked.durable("s")).cursor == 1
        [batch] = await stream.batches(1)
        assert batch.first == 2, "the one who holds it is not concerned"
        assert await stocked.acknowledge("s", batch.token) == 2


async def test_a_forced_reset_ends_the_consumer_and_its_tokens(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
        with refused("DURABLE_STREAM_ACTIVE"):
            await stocked.reset("s", 1)
        moved = await stocked.reset("s", 1, force=True)
        assert (moved.cursor, moved.active) == (1, False)
        assert (await stream.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await stocked.acknowledge("s", batches[2].token)
    assert (await stocked.durable("s")).cursor == 1
    async with stocked.stream_all_durable("s") as stream:
        assert (await stream.started()).after == 1


async def test_a_reset_without_a_consumer_ends_the_tokens_of_the_last_one(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
    await stocked.free()
    await stocked.reset("s", 0)
    with refused("DURABLE_STREAM_LEASE_LOST"):
        await stocked.acknowledge("s", batches[2].token)
    assert (await stocked.durable("s")).cursor == 0


async def test_a_forced_deletion_ends_the_consumer_and_its_tokens_also_when_the_name_is_used_again(
    stocked: Driver,
) -> None:
    async with stocked.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
        with refused("DURABLE_STREAM_ACTIVE"):
            await stocked.delete("s")
        await stocked.delete("s", force=True)
        assert (await stream.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
        with refused("DURABLE_STREAM_NOT_FOUND"):
            await stocked.acknowledge("s", batches[2].token)
    with refused("DURABLE_STREAM_NOT_FOUND"):
        await stocked.durable("s")
    async with stocked.stream_to_durable("s", A) as stream:
        assert (await stream.started()).after == 0
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await stocked.acknowledge("s", batches[2].token)
        assert (await stocked.durable("s")).cursor == 0


async def test_a_consumer_that_lost_its_lease_gives_nothing_back_that_is_not_its_own(stocked: Driver) -> None:
    """The end of an old stream neither moves the cursor nor frees the lease of the next one."""
    async with stocked.stream_to_durable("s", of_type("none")) as old:
        await old.until_caught_up()
        await stocked.reset("s", 1, force=True)
        async with stocked.stream_to_durable("s", of_type("none")) as new:
            assert (await new.started()).after == 1
            await old.close()
            for _ in range(5):
                assert (await stocked.durable("s")).active
                async with stocked.stream_to_durable("s", of_type("none")) as third:
                    with refused("DURABLE_STREAM_ACTIVE"):
                        await third.next()


async def test_one_who_waits_is_told_at_once_and_at_every_heartbeat_who_holds_the_lease(
    beating: Driver,
) -> None:
    async with beating.stream_all_durable("s") as first:
        epoch = (await first.started()).lease_epoch
        holder = (await beating.durable("s")).holder
        assert holder
        async with beating.stream_all_durable("s", wait=True) as second:
            for _ in range(3):
                assert await second.next() == Waiting(epoch, holder)
            assert (await beating.durable("s")).waiting == 1
            await first.close()
            started = await second.next_of(Started)
            assert started.lease_epoch > epoch
            assert (await beating.durable("s")).waiting == 0
            assert [batch.last for batch in await second.batches(3)] == [1, 2, 3]


async def test_one_who_waits_gets_the_lease_as_soon_as_it_is_free(stocked: Driver) -> None:
    """Long before the next heartbeat, which is ten seconds away: at the end of a stream, at a reset, at a deletion."""
    first = stocked.stream_all_durable("s")
    await first.started()
    async with stocked.stream_all_durable("s", wait=True) as second:
        assert isinstance(await second.next(), Waiting)
        await first.close()
        assert isinstance(await second.next_within(5), Started)
        async with stocked.stream_all_durable("s", wait=True) as third:
            assert isinstance(await third.next(), Waiting)
            await stocked.reset("s", 2, force=True)
            started = await third.next_within(5)
            assert isinstance(started, Started)
            assert started.after == 2
            async with stocked.stream_all_durable("s", wait=True, start=AT_HEAD) as fourth:
                assert isinstance(await fourth.next(), Waiting)
                await stocked.delete("s", force=True)
                started = await fourth.next_within(5)
                assert isinstance(started, Started)
                assert started.after == 3, "it created the name anew"


async def waiting_in_order(store: Driver, first: Stream, count: int) -> list[int]:
    """Lets streams queue one after the other, ends each holder in turn, and says who got the lease in which order."""
    queue = []
    for number in range(count):
        stream = store.stream_all_durable("s", wait=True)
        assert isinstance(await stream.next(), Waiting)
        queue.append(asyncio.create_task(stream.next_of(Started), name=str(number)))
        queue[-1].stream = stream  # type: ignore[attr-defined]
    order: list[int] = []
    holder = first
    while queue:
        assert (await store.durable("s")).waiting == len(queue)
        await holder.close()
        done, _ = await asyncio.wait(queue, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        [winner] = done
        order.append(int(winner.get_name()))
        holder = winner.stream  # type: ignore[attr-defined]
        queue.remove(winner)
    await holder.close()
    return order


async def test_the_lease_goes_to_those_who_wait_in_the_order_in_which_they_came(stocked: Driver) -> None:
    first = stocked.stream_all_durable("s")
    await first.started()
    assert await waiting_in_order(stocked, first, 6) == list(range(6))


async def test_a_heartbeat_takes_nobodys_place_in_the_queue(beating: Driver) -> None:
    first = beating.stream_all_durable("s")
    await first.started()
    early = beating.stream_all_durable("s", wait=True)
    assert isinstance(await early.next(), Waiting)
    # Their heartbeats come in turn: half an interval lies between them.
    assert await early.next_within(0.075) is None
    late = beating.stream_all_durable("s", wait=True)
    assert isinstance(await late.next(), Waiting)
    assert isinstance(await early.next(), Waiting)
    winners = [asyncio.create_task(stream.next_of(Started)) for stream in (early, late)]
    await first.close()
    done, _ = await asyncio.wait(winners, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert done == {winners[0]}
    await early.close()
    await winners[1]
    await late.close()


async def test_one_who_stops_waiting_is_passed_over(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as first:
        await first.started()
        async with stocked.stream_all_durable("s", wait=True) as second:
            assert isinstance(await second.next(), Waiting)
            async with stocked.stream_all_durable("s", wait=True) as third:
                assert isinstance(await third.next(), Waiting)
                await second.close()
                await eventually(lambda: stocked.durable("s"), lambda stream: stream.waiting == 1)
                await first.close()
                assert isinstance(await third.next(), Started)
                assert (await stocked.durable("s")).waiting == 0


async def test_a_free_lease_is_taken_without_waiting(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s", wait=True) as stream:
        assert isinstance(await stream.next(), Started)


async def test_the_lease_is_handed_over_with_the_cursor_of_the_last_acknowledgement(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as first:
        batches = await first.batches(3)
        async with stocked.stream_all_durable("s", wait=True) as second:
            assert isinstance(await second.next(), Waiting)
            await stocked.acknowledge("s", batches[1].token)
            await first.close()
            assert (await second.next_of(Started)).after == 2
            assert (await second.next_of(Batch)).last == 3


async def test_at_most_one_consumer_holds_a_lease_however_many_ask_at_once(store: Driver) -> None:
    streams = [store.stream_all_durable("s") for _ in range(12)]
    answers = await asyncio.gather(*(stream.next() for stream in streams), return_exceptions=True)
    assert sum(isinstance(answer, Started) for answer in answers) == 1
    assert {getattr(answer, "reason", "") for answer in answers} == {"", "DURABLE_STREAM_ACTIVE"}
    for stream in streams:
        await stream.close()


async def test_leases_end_with_the_server(persistent_store: Driver) -> None:
    store = persistent_store
    await store.append_types("a")
    async with store.stream_all_durable("s") as stream:
        await stream.batches(1)
        await store.restart()
        assert not (await store.durable("s")).active
        async with store.stream_all_durable("s") as again:
            assert (await again.started()).after == 0
