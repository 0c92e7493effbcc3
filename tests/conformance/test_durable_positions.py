"""Seeing, moving, deleting and awaiting durable streams, and facts that do not match, which are passed over."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from factstr_server.log import durable_streams, stream_positions
from factstr_server.stores.protocol import Store
from tests.conformance.conftest import MakeStore
from tests.conformance.driver import Driver, NewFact, Options, of_type, refused
from tests.conformance.streams import DurableStream, Stream, eventually

A = of_type("a")
BEYOND = (2**63 - 1, 2**63, 2**64 - 1)


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Facts 1 to 9 in batches of three: b, a, b."""
    for _ in range(3):
        await store.append_types("b", "a", "b")
    return store


@pytest.fixture
async def beating(make_store: MakeStore) -> AsyncIterator[Driver]:
    async with make_store(Options(heartbeat_interval=timedelta(milliseconds=150))) as driver:
        yield driver


async def create(store: Driver, *names: str) -> None:
    for name in names:
        async with store.stream_all_durable(name) as stream:
            await stream.started()
        await store.free(name)


async def test_facts_that_do_not_match_are_passed_over_once_everything_before_them_is_acknowledged(
    stocked: Driver,
) -> None:
    await stocked.append_types("b")
    async with stocked.stream_to_durable("s", A) as stream:
        batches = await stream.until_caught_up()
        assert [batch.last for batch in batches] == [3, 6, 9]
        for batch, cursor in zip(batches, (3, 6, 10), strict=True):
            assert await stocked.acknowledge("s", batch.token) == cursor
            assert (await stocked.durable("s")).cursor == cursor
        await stocked.append_types("b", "b")
        await stocked.append_types("b")
        seen = await eventually(lambda: stocked.durable("s"), lambda s: s.cursor == 13)
        assert (seen.lag_events, seen.lag) == (0, 0)


async def test_facts_before_the_first_match_are_passed_over_without_an_acknowledgement(store: Driver) -> None:
    await store.append_types("b", "b")
    await store.append_types("b")
    await store.append_types("b", "a")
    async with store.stream_to_durable("s", A) as stream:
        [batch] = await stream.batches(1)
        assert (await store.durable("s")).cursor == 3, "not into the batch that was delivered"
    assert (await store.free()).cursor == 3
    async with store.stream_to_durable("s", A) as stream:
        assert (await stream.started()).after == 3
        assert (await stream.batches(1))[0].shape == batch.shape


async def test_passed_facts_are_stored_at_the_end_of_the_stream(persistent_store: Driver) -> None:
    store = persistent_store
    async with store.stream_to_durable("s", A) as stream:
        await stream.until_caught_up()
        for _ in range(5):
            await store.append_types("b", "b")
    await store.free()
    await store.restart()
    assert (await store.durable("s")).cursor == 10


async def test_passed_facts_are_stored_after_about_a_second_without_anybody_asking(
    make_store: MakeStore,
) -> None:
    """What the store holds is what another store object over it would read: asked for directly."""
    opened: list[Store] = []

    def remember(store: Store) -> Store:
        opened.append(store)
        return store

    async def stored() -> int:
        known = await opened[0].get("s")
        assert known is not None
        return known.cursor

    async with (
        make_store(Options(wrap=remember)) as store,
        store.stream_to_durable("s", A) as stream,
    ):
        await stream.until_caught_up()
        await store.append_types("b", "b")
        assert await eventually(stored, lambda cursor: cursor == 2) == 2


async def test_passing_over_is_no_acknowledgement(stocked: Driver) -> None:
    async with stocked.stream_to_durable("s", of_type("none")) as stream:
        await stream.until_caught_up()
        assert await stocked.await_cursor("s", 9) == (9, True)
        assert (await stocked.durable("s")).acknowledged_at is None


async def test_the_state_of_a_stream_says_where_it_stands(stocked: Driver) -> None:
    times = [fact.occurred_at for fact in (await stocked.query()).facts]
    async with stocked.stream_to_durable("s", A) as stream:
        started = await stream.started()
        batches = await stream.batches(3)
        new = await stocked.durable("s")
        assert new.name == "s"
        assert new.query == A
        assert (new.cursor, new.head, new.lag_events) == (0, 9, 9)
        assert new.active
        assert new.holder
        assert (new.waiting, new.lease_epoch, new.acknowledged_at) == (0, started.lease_epoch, None)
        assert new.created_at >= times[-1]
        assert new.lag > 0
        await stocked.acknowledge("s", batches[0].token)
        moved = await stocked.durable("s")
        assert (moved.cursor, moved.head, moved.lag_events) == (3, 9, 6)
        assert moved.acknowledged_at is not None
        assert moved.acknowledged_at >= new.created_at
        assert (moved.created_at, moved.lease_epoch) == (new.created_at, new.lease_epoch)
    idle = await stocked.free()
    assert (idle.cursor, idle.holder, idle.lease_epoch) == (3, "", started.lease_epoch)
    assert idle.acknowledged_at == moved.acknowledged_at


async def test_lag_in_time_is_the_age_of_the_first_fact_after_the_cursor(store: Driver) -> None:
    await store.append_types("a")
    await create(store, "s")
    first = (await store.durable("s")).lag
    second = (await store.durable("s")).lag
    assert 0 < first < second
    await store.append_types("a")
    await store.reset("s", 1)
    young = (await store.durable("s")).lag
    assert young < (await store.durable("s")).lag
    await store.reset("s", 2)
    assert (await store.durable("s")).lag == 0


async def test_a_stream_that_does_not_exist_is_not_found_by_any_call(store: Driver) -> None:
    await create(store, "other")
    for call in (
        store.durable("s"),
        store.reset("s", 0),
        store.reset("s", 0, force=True),
        store.delete("s"),
        store.delete("s", force=True),
        store.await_cursor("s", 0),
        store.await_cursor("s", 1, seconds=None),
    ):
        with refused("DURABLE_STREAM_NOT_FOUND") as caught:
            await call
        assert caught.value.code in {None, "NOT_FOUND"}
    async with store.stream_all_durable("other") as stream:
        await store.append_types("a")
        [batch] = await stream.batches(1)
    await store.free("other")
    await store.delete("other")
    with refused("DURABLE_STREAM_NOT_FOUND"):
        await store.acknowledge("other", batch.token)


async def test_names_are_listed_in_code_point_order_in_pages_and_by_prefix(store: Driver) -> None:
    names = ["", "B", "a", "a b", "a%", "a_", "ab", "abc", "b", "\u00e9", "\uffee", "\U0001f600"][1:]
    await create(store, *reversed(names))
    assert (await store.list_durable()).names == names
    for size in (1, 2, 3, len(names) - 1, len(names), len(names) + 1):
        found, token = [], ""
        while True:
            page = await store.list_durable(page_size=size, token=token)
            assert len(page.names) <= size
            found += page.names
            if not (token := page.token):
                break
        assert found == names
    for prefix in ("a", "ab", "a%", "a_", "\U0001f600", "zz", "abcd"):
        assert (await store.list_durable(prefix)).names == [n for n in names if n.startswith(prefix)]
    page = await store.list_durable("a", page_size=2)
    assert page.names == ["a", "a b"]
    assert (await store.list_durable("a", token=page.token)).names == ["a%", "a_", "ab", "abc"]
    assert (await store.list_durable()).streams == [
        await stable(store, name, listed)
        for name, listed in zip(names, (await store.list_durable()).streams, strict=True)
    ]


async def stable(store: Driver, name: str, listed: DurableStream) -> DurableStream:
    """The stream got by name; its age is that of the listing."""
    return (await store.durable(name))._replace(lag=listed.lag)


async def test_listing_nothing_is_an_empty_last_page(store: Driver) -> None:
    assert await store.list_durable() == ([], "")


async def test_a_reset_moves_the_cursor_back_and_forth(stocked: Driver) -> None:
    await create(stocked, "s")
    for cursor in (9, 0, 5, 3):
        moved = await stocked.reset("s", cursor)
        assert (moved.cursor, moved.lag_events) == (cursor, 9 - cursor)
        assert moved._replace(lag=0) == (await stocked.durable("s"))._replace(lag=0)
        async with stocked.stream_all_durable("s") as stream:
            assert (await stream.started()).after == cursor
            delivered = [n for batch in await stream.until_caught_up() for n in batch.numbers]
            assert delivered == list(range(cursor + 1, 10))
        await stocked.free()


async def test_a_reset_above_the_head_is_refused(stocked: Driver) -> None:
    await create(stocked, "s")
    for cursor in (10, *BEYOND):
        for force in (False, True):
            with refused("CURSOR_AHEAD_OF_LOG") as caught:
                await stocked.reset("s", cursor, force=force)
            assert caught.value.metadata == {"asked_for": str(cursor), "head_sequence_number": "9"}
    assert (await stocked.durable("s")).cursor == 0


async def test_a_refused_reset_leaves_the_consumer_alone(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        await stream.batches(3)
        for force, reason in ((False, "DURABLE_STREAM_ACTIVE"), (True, "CURSOR_AHEAD_OF_LOG")):
            with refused(reason):
                await stocked.reset("s", 10, force=force)
        await stocked.append_types("a")
        [batch] = await stream.batches(1)
        assert await stocked.acknowledge("s", batch.token) == 10


async def test_a_deleted_name_is_free_for_another_query_and_another_start(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        [batch, *_] = await stream.batches(3)
        await stocked.acknowledge("s", batch.token)
    await stocked.free()
    await stocked.delete("s")
    assert (await stocked.list_durable()).streams == []
    async with stocked.stream_to_durable("s", A, start=4) as stream:
        assert (await stream.started()).after == 4


async def consumed(store: Driver, stream: Stream) -> None:
    """A projection: handles a batch, then acknowledges it."""
    while True:
        [batch] = await stream.batches(1)
        await store.acknowledge("s", batch.token)


async def test_awaiting_reads_ones_own_writes_through_a_projection(store: Driver) -> None:
    async with store.stream_to_durable("s", A) as stream:
        await stream.started()
        consuming = asyncio.create_task(consumed(store, stream))
        for _ in range(20):
            for types in (["a"], ["b"], ["b", "a"], ["b", "b"]):
                appended = await store.append_types(*types)
                cursor, reached = await store.await_cursor("s", appended.last, seconds=None)
                assert reached
                assert cursor >= appended.last
        consuming.cancel()


async def test_awaiting_says_where_the_cursor_is_at_the_timeout(stocked: Driver) -> None:
    await create(stocked, "s")
    for number in (1, 9, 10, *BEYOND):
        assert await stocked.await_cursor("s", number, seconds=0.05) == (0, False)
    assert await stocked.await_cursor("s", 1, seconds=0) == (0, False)


async def test_awaiting_what_is_reached_answers_at_once(stocked: Driver) -> None:
    await create(stocked, "s")
    await stocked.reset("s", 5)
    for number in (0, 1, 5):
        for seconds in (0.0, 60.0, None):
            assert await stocked.await_cursor("s", number, seconds) == (5, True)


async def awaiting(store: Driver, number: int) -> "asyncio.Task[tuple[int, bool]]":
    """A call that awaits a cursor, and has begun to."""
    task = asyncio.create_task(store.await_cursor("s", number, seconds=None))
    # Calls are answered in the order in which they came in.
    for _ in range(3):
        await store.durable("s")
    assert not task.done()
    return task


async def test_awaiting_is_woken_by_an_acknowledgement(stocked: Driver) -> None:
    async with stocked.stream_to_durable("s", A) as stream:
        batches = await stream.batches(3)
        one, two = await awaiting(stocked, 2), await awaiting(stocked, 4)
        await stocked.acknowledge("s", batches[0].token)
        assert await one == (3, True)
        assert not two.done()
        await stocked.acknowledge("s", batches[1].token)
        assert await two == (6, True)


async def test_awaiting_is_woken_by_facts_that_are_passed_over(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: not by what looks every second."""
    monkeypatch.setattr(stream_positions, "_LOOK_AGAIN_SECONDS", 100)
    monkeypatch.setattr(durable_streams, "STORE_PASSED_SECONDS", 100)
    async with make_store(Options()) as store:
        await store.append_types("a")
        async with store.stream_to_durable("s", of_type("none")) as stream:
            await stream.until_caught_up()
            waiting = await awaiting(store, 3)
            await store.append_types("a")
            await store.append_types("a")
            assert await asyncio.wait_for(waiting, 10) == (3, True)
        assert await store.await_cursor("s", 3, seconds=0) == (3, True)


async def test_awaiting_is_woken_by_a_reset(stocked: Driver) -> None:
    await create(stocked, "s")
    waiting = await awaiting(stocked, 5)
    await stocked.reset("s", 7)
    assert await waiting == (7, True)


async def test_awaiting_a_stream_that_is_deleted_meanwhile_ends_with_not_found(stocked: Driver) -> None:
    await create(stocked, "s")
    waiting = await awaiting(stocked, 5)
    await stocked.delete("s")
    with refused("DURABLE_STREAM_NOT_FOUND"):
        await waiting


async def test_what_was_awaited_and_reached_is_stored(persistent_store: Driver) -> None:
    store = persistent_store
    async with store.stream_to_durable("s", A) as stream:
        await stream.until_caught_up()
        await store.append([NewFact("b")] * 7)
        assert await store.await_cursor("s", 7) == (7, True)
        await store.restart()
        assert (await store.durable("s")).cursor == 7
