"""Durable streams: a cursor that only acknowledgements move, and everything after it again until they do."""

import asyncio

import pytest

from factstr_server.log import durable_streams
from tests.conformance.conftest import MakeStore
from tests.conformance.driver import Driver, NewFact, Options, of_type, refused
from tests.conformance.streams import AT_HEAD, Batch, CaughtUp, Stream

A = of_type("a")


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Batches 1 to 2, 3 to 3, 4 to 8."""
    return await stock(store)


async def stock(store: Driver) -> Driver:
    await store.append_types("a", "b")
    await store.append_types("b")
    await store.append_types("a", "b", "a", "b", "b")
    return store


def shapes(batches: list[Batch]) -> list[tuple[int, int, list[int]]]:
    return [batch.shape for batch in batches]


async def replayed(stream: Stream) -> list[tuple[int, int, list[int]]]:
    await stream.started()
    return shapes(await stream.until_caught_up())


async def test_a_new_name_starts_before_the_first_fact(stocked: Driver) -> None:
    async with stocked.stream_all_durable("all") as everything, stocked.stream_to_durable("a", A) as some:
        assert (await everything.started()).after == 0
        assert (await some.started()).after == 0
        assert shapes(await everything.until_caught_up()) == [
            (1, 2, [1, 2]),
            (3, 3, [3]),
            (4, 8, [4, 5, 6, 7, 8]),
        ]
        assert shapes(await some.until_caught_up()) == [(1, 2, [1]), (4, 8, [4, 6])]
        await stocked.append_types("b", "a")
        assert shapes(await everything.batches(1)) == [(9, 10, [9, 10])]
        assert shapes(await some.batches(1)) == [(9, 10, [10])]


async def test_a_new_name_starts_where_its_first_call_says(stocked: Driver) -> None:
    async with stocked.stream_all_durable("after 3", start=3) as stream:
        assert (await stream.started()).after == 3
        assert shapes(await stream.until_caught_up()) == [(4, 8, [4, 5, 6, 7, 8])]
    async with stocked.stream_to_durable("inside", A, start=5) as stream:
        assert (await stream.started()).after == 5
        assert shapes(await stream.until_caught_up()) == [(4, 8, [6])]
    async with stocked.stream_all_durable("inside all", start=5) as stream:
        assert await replayed(stream) == [(4, 8, [6, 7, 8])]
    async with stocked.stream_all_durable("at head", start=AT_HEAD) as stream:
        assert (await stream.started()).after == 8
        assert await stream.next() == CaughtUp(8)
        await stocked.append_types("a")
        assert shapes(await stream.batches(1)) == [(9, 9, [9])]
    for name, position in (("after 3", 3), ("inside", 5), ("at head", 8)):
        assert (await stocked.durable(name)).cursor == position


@pytest.mark.parametrize("start", [9, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_start_beyond_the_head_is_refused_and_creates_nothing(stocked: Driver, start: int) -> None:
    async with stocked.stream_all_durable("s", start=start) as stream:
        with refused("CURSOR_AHEAD_OF_LOG") as caught:
            await stream.next()
    assert caught.value.metadata == {"asked_for": str(start), "head_sequence_number": "8"}
    with refused("DURABLE_STREAM_NOT_FOUND"):
        await stocked.durable("s")


async def test_the_start_is_used_only_when_the_call_creates_the_name(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s", start=3) as stream:
        await stream.started()
    for start in (0, 8, AT_HEAD, 2**64 - 1):
        await stocked.free()
        async with stocked.stream_all_durable("s", start=start) as stream:
            assert (await stream.started()).after == 3


async def test_only_acknowledgements_move_the_cursor_and_redelivery_begins_after_it(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        first, _, _ = await stream.batches(3)
        assert (await stocked.durable("s")).cursor == 0
        assert await stocked.acknowledge("s", first.token) == 2
        assert (await stocked.durable("s")).cursor == 2
    assert (await stocked.free()).cursor == 2
    async with stocked.stream_all_durable("s") as stream:
        assert (await stream.started()).after == 2
        assert shapes(await stream.until_caught_up()) == [(3, 3, [3]), (4, 8, [4, 5, 6, 7, 8])]
    assert (await stocked.free()).cursor == 2


async def test_an_acknowledgement_is_of_its_batch_and_all_before_it(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
        assert await stocked.acknowledge("s", batches[2].token) == 8
    async with stocked.stream_all_durable("s") as stream:
        assert (await stream.started()).after == 8
        assert await stream.next() == CaughtUp(8)


async def test_acknowledging_again_or_out_of_order_is_harmless(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        first, second, third = await stream.batches(3)
        assert await stocked.acknowledge("s", second.token) == 3
        assert await stocked.acknowledge("s", first.token) == 3
        assert await stocked.acknowledge("s", second.token) == 3
        assert await stocked.acknowledge("s", third.token) == 8
        for batch in (third, first, second):
            assert await stocked.acknowledge("s", batch.token) == 8
    assert (await stocked.free()).cursor == 8


async def test_concurrent_acknowledgements_end_at_the_highest(store: Driver) -> None:
    for _ in range(30):
        await store.append_types("a", "b")
    async with store.stream_to_durable("s", A) as stream:
        batches = await stream.batches(30)
        cursors = await asyncio.gather(*(store.acknowledge("s", batch.token) for batch in batches))
        assert max(cursors) == 60
        assert all(cursor >= batch.last for cursor, batch in zip(cursors, batches, strict=True))
        assert (await store.durable("s")).cursor == 60


async def test_a_token_is_valid_after_its_stream_ended_while_nobody_took_the_lease(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        first, second, _ = await stream.batches(3)
    await stocked.free()
    assert await stocked.acknowledge("s", first.token) == 2
    assert await stocked.acknowledge("s", second.token) == 3
    async with stocked.stream_all_durable("s") as stream:
        assert (await stream.started()).after == 3


async def test_cursors_tokens_and_queries_survive_a_restart(persistent_store: Driver) -> None:
    store = await stock(persistent_store)
    async with store.stream_to_durable("s", A) as stream:
        first, second = await stream.batches(2)
        await store.acknowledge("s", first.token)
    before = await store.free()
    await store.restart()
    after = await store.durable("s")
    assert after._replace(lag=0) == before._replace(lag=0)
    assert (after.cursor, after.query, after.active) == (3, A, False)
    assert await store.acknowledge("s", second.token) == 8
    await store.restart()
    async with store.stream_to_durable("s", A) as stream:
        started = await stream.started()
        assert started.after == 8
        assert started.lease_epoch > before.lease_epoch
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await store.acknowledge("s", second.token)
    await store.free()
    async with store.stream_all_durable("s") as stream:
        with refused("DURABLE_STREAM_QUERY_MISMATCH"):
            await stream.next()


async def test_a_redelivered_batch_is_the_same_but_for_its_token(stocked: Driver) -> None:
    async with stocked.stream_to_durable("s", A) as stream:
        before = await stream.batches(2)
    await stocked.free()
    async with stocked.stream_to_durable("s", A) as stream:
        after = await stream.batches(2)
    assert [batch._replace(token="") for batch in after] == [batch._replace(token="") for batch in before]
    assert not {batch.token for batch in before} & {batch.token for batch in after}


async def test_tokens_are_ascii_of_at_most_64_bytes_and_each_its_own(store: Driver) -> None:
    for _ in range(10):
        await store.append_types("a", "b")
    longest = "\U0001f600" * 200
    async with store.stream_all_durable(longest) as stream, store.stream_all_durable("s") as other:
        batches = [*(await stream.batches(10)), *(await other.batches(10))]
        assert await store.acknowledge(longest, batches[0].token) == 2
    tokens = [batch.token for batch in batches]
    assert len(set(tokens)) == 20
    assert all(token.isascii() and 0 < len(token) <= 64 for token in tokens)


async def test_a_token_is_of_one_stream_and_cannot_be_made_up(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream, stocked.stream_all_durable("t") as other:
        [batch, *_] = await stream.batches(3)
        [others, *_] = await other.batches(3)
        token = batch.token
        changed = [
            token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))
        ]
        for wrong in (
            others.token,
            *changed,
            *(token[:length] for length in range(len(token))),
            token + "A",
            token * 2,
            "=" * 44,
            "\N{SNOWMAN}" * 44,
            "\0" * 44,
            "A" * 100_000,
        ):
            with refused("INVALID_ARGUMENT", "acknowledgement_token"):
                await stocked.acknowledge("s", wrong)
        assert (await stocked.durable("s")).cursor == 0
        assert await stocked.acknowledge("s", token) == 2


async def test_the_token_of_another_store_is_refused(make_store: MakeStore) -> None:
    async with make_store(Options()) as store:
        await store.append_types("a")
        async with store.stream_all_durable("s") as stream:
            [batch] = await stream.batches(1)
        async with type(store)("memory:", Options()) as other:
            await other.append_types("a")
            async with other.stream_all_durable("s") as stream:
                await stream.batches(1)
                with refused("INVALID_ARGUMENT", "acknowledgement_token"):
                    await other.acknowledge("s", batch.token)


async def test_nothing_moves_the_cursor_past_a_batch_at_which_the_consumer_failed(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later batches were sent, facts that do not match follow, and the time at which passed facts are stored comes by
    more than once.
    """
    monkeypatch.setattr(durable_streams, "STORE_PASSED_SECONDS", 0.1)
    async with make_store(Options()) as store:
        for _ in range(5):
            await store.append_types("b", "a", "b")
        async with store.stream_to_durable("s", A) as stream:
            batches = await stream.batches(5)
            await store.acknowledge("s", batches[1].token)
            await store.append_types("b", "b")
            assert await store.await_cursor("s", 8, seconds=0.4) == (6, False)
            assert (await store.durable("s")).cursor == 6
        assert (await store.free()).cursor == 6
        async with store.stream_to_durable("s", A) as stream:
            assert (await stream.started()).after == 6
            assert shapes(await stream.until_caught_up()) == [(7, 9, [8]), (10, 12, [11]), (13, 15, [14])]
        assert (await store.free()).cursor == 6


async def test_a_stream_from_inside_a_batch_stays_there_until_the_rest_of_it_is_acknowledged(
    stocked: Driver,
) -> None:
    async with stocked.stream_all_durable("s", start=5) as stream:
        [batch] = await stream.batches(1)
        assert (await stocked.durable("s")).cursor == 5
        assert await stocked.acknowledge("s", batch.token) == 8


async def test_a_resumed_stream_delivers_without_gap_or_duplicate_while_facts_come(store: Driver) -> None:
    seen: list[int] = []

    async def write() -> None:
        for number in range(120):
            await store.append_types(*["a"] * (1 + number % 4))

    writing = asyncio.create_task(write())
    while len(seen) < 300:
        async with store.stream_all_durable("s", wait=True) as stream:
            for _ in range(7):
                batch = await stream.next_of(Batch)
                seen += batch.numbers
                await store.acknowledge("s", batch.token)
                if len(seen) == 300:
                    break
    await writing
    assert seen == list(range(1, 301))


async def test_deliveries_of_one_connection_never_repeat_whatever_is_acknowledged(store: Driver) -> None:
    async with store.stream_all_durable("s") as stream:
        for number in range(1, 21):
            await store.append_types("a")
            [batch] = await stream.batches(1)
            assert batch.numbers == [number]
            if number % 3 == 0:
                await store.acknowledge("s", batch.token)


async def test_at_most_the_window_of_batches_is_unacknowledged(store: Driver) -> None:
    for _ in range(10):
        await store.append_types("a", "b")
    async with store.stream_all_durable("s", window=3) as stream:
        batches = await stream.batches(3)
        assert await stream.next_within(0.3) is None
        assert await store.acknowledge("s", batches[1].token) == 4
        batches += await stream.batches(2)
        assert await stream.next_within(0.3) is None
        await store.acknowledge("s", batches[-1].token)
        assert [batch.last for batch in await stream.batches(3)] == [12, 14, 16]


async def test_a_window_of_one_delivers_batch_by_batch(store: Driver) -> None:
    await store.append([NewFact("a")] * 50)
    await store.append_types("b")
    await store.append_types("a")
    async with store.stream_to_durable("s", A, window=1) as stream:
        for expected in ([*range(1, 51)], [52]):
            [batch] = await stream.batches(1)
            assert batch.numbers == expected
            assert stream.ready() == []
            assert await stream.next_within(0.1) is None
            await store.acknowledge("s", batch.token)
        await store.append_types("a")
        assert shapes(await stream.batches(1)) == [(53, 53, [53])]


async def test_the_window_is_1024_batches_unless_the_call_says_otherwise(store: Driver) -> None:
    await asyncio.gather(*(store.append_types("a") for _ in range(1_030)))
    async with store.stream_all_durable("s") as stream:
        batches = await stream.batches(1_024)
        assert await stream.next_within(0.3) is None
        await store.acknowledge("s", batches[-1].token)
        assert len(await stream.batches(6)) == 6


async def test_at_most_8_mib_are_unacknowledged_beyond_the_first_batch(store: Driver) -> None:
    large = [NewFact("a", '"' + "x" * 1_000_000 + '"')]
    for _ in range(12):
        await store.append(large)
    async with store.stream_all_durable("s") as stream:
        seen: list[Batch] = []
        acknowledged = 0
        while len(seen) < 12:
            item = await stream.next_within(0.2)
            if isinstance(item, Batch):
                seen.append(item)
                assert len(seen) - acknowledged - 1 <= 8
            elif item is None:
                assert len(seen) - acknowledged > 1, "more than one at a time where they fit"
                acknowledged += 1
                await store.acknowledge("s", seen[acknowledged - 1].token)
        assert acknowledged > 0
