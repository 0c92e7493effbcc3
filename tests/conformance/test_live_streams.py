"""Live streams: every batch that was committed after a position, once, in commit order, whole or its matching part."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from factstr_server.log import dispatcher
from factstr_server.log.tail import MAX_TAIL_BYTES, Tail
from tests.conformance.conftest import MakeStore
from tests.conformance.driver import (
    EVERYTHING,
    Driver,
    Filter,
    NewFact,
    Options,
    Query,
    of_type,
    refused,
    where,
)
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, Started, Stream

A = of_type("a")
BEATING = Options(heartbeat_interval=timedelta(milliseconds=200))


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Batches 1 to 2, 3 to 3, 4 to 8."""
    await store.append_types("a", "b")
    await store.append_types("b")
    await store.append_types("a", "b", "a", "b", "b")
    return store


@pytest.fixture
async def beating(make_store: MakeStore) -> AsyncIterator[Driver]:
    """An empty store whose streams are never silent for long."""
    async with make_store(BEATING) as driver:
        yield driver


def shapes(batches: list[Batch]) -> list[tuple[int, int, list[int]]]:
    return [batch.shape for batch in batches]


async def nothing_comes(stream: Stream, store: Driver) -> None:
    """Nothing was on its way: the next batch to come is one that is appended now."""
    last = await store.append_types("a")
    [batch] = await stream.batches(1)
    assert batch.shape == (last.first, last.last, [last.first])


async def test_a_stream_from_now_delivers_what_is_committed_after_it_has_started(stocked: Driver) -> None:
    async with stocked.stream_all() as stream:
        assert await stream.next() == Started(8)
        assert await stream.next() == CaughtUp(8)
        await stocked.append([NewFact("a", "1"), NewFact("b", "2", {"k": "v"})])
        [batch] = await stream.batches(1)
        assert batch.shape == (9, 10, [9, 10])
        assert batch.facts == (await stocked.query(Query(after=8))).facts
        assert batch.token == ""


async def test_whatever_is_appended_after_a_client_has_seen_started_is_delivered(store: Driver) -> None:
    for number in range(20):
        async with store.stream_all() as stream:
            assert await stream.started() == Started(number)
            await store.append_types("a")
            assert shapes(await stream.batches(1)) == [(number + 1, number + 1, [number + 1])]


async def test_a_stream_after_a_position_replays_everything_strictly_after_it_and_goes_on_live(
    stocked: Driver,
) -> None:
    for after, expected in {
        0: [(1, 2, [1, 2]), (3, 3, [3]), (4, 8, [4, 5, 6, 7, 8])],
        2: [(3, 3, [3]), (4, 8, [4, 5, 6, 7, 8])],
        3: [(4, 8, [4, 5, 6, 7, 8])],
        8: [],
    }.items():
        async with stocked.stream_all(after) as stream:
            assert await stream.next() == Started(after)
            assert shapes(await stream.until_caught_up()) == expected
    async with stocked.stream_all(0) as stream:
        await stream.batches(3)
        await nothing_comes(stream, stocked)


async def check_positions_inside_a_batch(store: Driver) -> None:
    for after in (4, 5, 6, 7):
        for query, wanted in ((EVERYTHING, {5, 6, 7, 8}), (A, {6})):
            async with store.stream_to(query, after) as stream:
                rest = [n for n in range(after + 1, 9) if n in wanted]
                expected = [(4, 8, rest)] if rest else []
                assert shapes(await stream.until_caught_up()) == [*expected, (9, 9, [9])]


async def test_a_position_inside_a_batch_delivers_the_rest_of_it_as_one_batch(stocked: Driver) -> None:
    await stocked.append_types("a")
    await check_positions_inside_a_batch(stocked)


async def test_a_position_inside_a_batch_delivers_the_rest_of_it_after_a_restart_too(
    persistent_store: Driver,
) -> None:
    for types in (["a", "b"], ["b"], ["a", "b", "a", "b", "b"], ["a"]):
        await persistent_store.append_types(*types)
    await persistent_store.restart()
    await check_positions_inside_a_batch(persistent_store)


async def test_a_filtered_stream_gets_its_matching_part_of_a_batch_as_one_batch_or_nothing(
    stocked: Driver,
) -> None:
    async with stocked.stream_to(A, 0) as replayed, stocked.stream_to(A) as live:
        assert shapes(await replayed.until_caught_up()) == [(1, 2, [1]), (4, 8, [4, 6])]
        await live.next_of(CaughtUp)
        await stocked.append_types("b")
        await stocked.append_types("b", "a", "b", "a")
        for stream in (replayed, live):
            [batch] = await stream.batches(1)
            assert batch.shape == (10, 13, [11, 13])
            assert batch.facts == (await stocked.query(A._replace(after=9))).facts


QUERIES = [
    EVERYTHING,
    of_type("a", "b"),
    of_type("none"),
    of_type(),
    where('{"id":1}'),
    where('{"id":2}', "[]"),
    where('{"rows":[{"x":1,"y":1}]}'),
    Query((Filter(("a",), ('{"id":1.0}',)),)),
    Query((Filter(("a",)), Filter(("c",), ('{"id":1}',)))),
    Query((Filter(),)),
    Query((Filter(types=("a",), predicates=()),)),
]
PAYLOADS = [
    '{"id":1}',
    '{"id":2,"more":[1]}',
    "[]",
    '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}',
    '{"rows":[{"x":1,"y":1}]}',
    '{"id":1,' + ",".join(f'"k{i}":{i}' for i in range(2_100)) + "}",
    '{"id":1,"large":"' + "x" * 70_000 + '"}',
]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
async def test_a_stream_delivers_exactly_what_a_query_returns_live_and_replayed(
    store: Driver, query: Query
) -> None:
    """Facts with more terms than an index takes, and large ones, among them."""
    batches = [
        [NewFact(event_type, payload) for payload in PAYLOADS[first:last]]
        for event_type in ("a", "b", "c")
        for first, last in ((0, 1), (1, 4), (4, 5), (5, 7))
    ]
    async with store.stream_to(query) as live:
        await live.started()
        ranges = []
        for batch in batches:
            appended = await store.append(batch)
            ranges.append((appended.first, appended.last))
        matching = (await store.query(query)).facts
        expected = [
            (first, last, facts)
            for first, last in ranges
            if (facts := tuple(fact for fact in matching if first <= fact.sequence_number <= last))
        ]
        got = await live.batches(len(expected))
        assert [(batch.first, batch.last, batch.facts) for batch in got] == expected
    async with store.stream_to(query, 0) as replayed:
        got = await replayed.until_caught_up()
        assert [(batch.first, batch.last, batch.facts) for batch in got] == expected


async def test_min_sequence_number_never_narrows_a_stream(stocked: Driver) -> None:
    for cursor in (0, 5, 8, 2**63, 2**64 - 1):
        async with stocked.stream_to(A._replace(after=cursor), 0) as stream:
            assert shapes(await stream.until_caught_up()) == [(1, 2, [1]), (4, 8, [4, 6])]


async def test_batch_boundaries_survive_a_restart(persistent_store: Driver) -> None:
    store = persistent_store
    for size in (1, 3, 1, 1, 2, 5):
        await store.append_types(*["a", "b", "a", "a", "b"][:size])
    async with store.stream_all(0) as stream:
        before = await stream.until_caught_up()
    await store.restart()
    async with store.stream_all(0) as stream:
        assert await stream.until_caught_up() == before
    assert [(batch.first, batch.last) for batch in before] == [
        (1, 1),
        (2, 4),
        (5, 5),
        (6, 6),
        (7, 8),
        (9, 13),
    ]


async def test_a_failed_append_delivers_nothing(store: Driver) -> None:
    async with store.stream_all() as stream:
        await stream.started()
        with refused("CONDITIONAL_APPEND_CONFLICT"):
            await store.append_if([NewFact("x")], EVERYTHING, 7)
        with refused("EMPTY_APPEND"):
            await store.append([])
        with refused("INVALID_PAYLOAD"):
            await store.append([NewFact("x", "{")])
        await store.append([NewFact("k")], key="k")
        await store.append([NewFact("k")], key="k")
        with refused("IDEMPOTENCY_KEY_REUSED"):
            await store.append([NewFact("other")], key="k")
        await store.append_types("last")
        assert [batch.facts[0].event_type for batch in await stream.batches(2)] == ["k", "last"]


async def test_conditional_appends_are_delivered_like_others(store: Driver) -> None:
    async with store.stream_all(0) as stream:
        await store.append_if([NewFact("a"), NewFact("a")], A, None)
        assert shapes(await stream.batches(1)) == [(1, 2, [1, 2])]


@pytest.mark.parametrize("after", [9, 10, 1_000, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_position_beyond_the_head_is_refused_at_once(stocked: Driver, after: int) -> None:
    for stream in (stocked.stream_all(after), stocked.stream_to(A, after)):
        async with stream:
            with refused("CURSOR_AHEAD_OF_LOG") as caught:
                await stream.next()
        assert caught.value.metadata == {"asked_for": str(after), "head_sequence_number": "8"}
        assert caught.value.code in {None, "OUT_OF_RANGE"}


async def test_a_position_beyond_the_head_of_an_empty_log_is_refused_and_0_is_not(store: Driver) -> None:
    async with store.stream_all(1) as stream:
        with refused("CURSOR_AHEAD_OF_LOG"):
            await stream.next()
    async with store.stream_all(0) as stream:
        assert [await stream.next(), await stream.next()] == [Started(0), CaughtUp(0)]


async def test_an_invalid_query_is_refused_before_anything_is_said(store: Driver) -> None:
    async with store.stream_to(where("{")) as stream:
        with refused("INVALID_PREDICATE", "query.filters[0].payload_predicates.any_of[0]"):
            await stream.next()
    async with store.stream_to(of_type("a", "")) as stream:
        with refused("INVALID_EVENT_TYPE", "query.filters[0].event_types.any_of[1]"):
            await stream.next()


async def test_caught_up_comes_once_after_started_at_the_head_and_once_after_a_replay(
    stocked: Driver,
) -> None:
    async with stocked.stream_all() as stream:
        assert [await stream.next(), await stream.next()] == [Started(8), CaughtUp(8)]
    for query in (EVERYTHING, A, of_type("none")):
        async with stocked.stream_to(query, 0) as stream:
            assert await stream.next() == Started(0)
            await stream.until_caught_up()
            await stocked.append_types("a", "none")
            assert isinstance(await stream.next(), Batch), "no second word of it"


async def test_a_silent_stream_sends_a_checkpoint_at_every_heartbeat(beating: Driver) -> None:
    async with beating.stream_all() as stream, beating.stream_to(A) as filtered:
        for each in (stream, filtered):
            assert [await each.next(), await each.next()] == [Started(0), CaughtUp(0)]
        for _ in range(2):
            assert await stream.next() == Checkpoint(0)
        await beating.append_types("b", "b")
        assert (await stream.next_of(Batch)).last == 2
        assert await stream.next() == Checkpoint(2)
        while (checkpoint := await filtered.next()) != Checkpoint(2):
            assert checkpoint == Checkpoint(0)


async def test_a_checkpoint_covers_what_does_not_match_and_never_a_batch_that_was_not_delivered(
    beating: Driver,
) -> None:
    async with beating.stream_to(A, 0) as stream:
        await stream.started()
        position = delivered = 0
        for _ in range(3):
            appended = await beating.append_types("b", "a", "b")
            await beating.append_types("b")
            while position < appended.last + 1:
                item = await stream.next()
                if isinstance(item, Batch):
                    assert item.first > position, "delivered before it was passed"
                    delivered = item.last
                elif isinstance(item, Checkpoint):
                    assert item.position >= position, "checkpoints never go back"
                    position = item.position
                    assert position < appended.first or delivered == appended.last


async def test_a_stream_that_is_never_read_holds_up_neither_appends_nor_others(store: Driver) -> None:
    large = [NewFact("a", '"' + "x" * 100_000 + '"')] * 5
    async with store.stream_all(0) as stuck, store.stream_to(A, 0) as stuck_too, store.stream_all(0) as other:
        await stuck.started()
        await stuck_too.started()
        for number in range(20):
            appended = await store.append(large)
            assert (await other.next_of(Batch)).last == appended.last == 5 * (number + 1)
        for late in (stuck, stuck_too):
            assert [batch.last for batch in await late.batches(20)] == list(range(5, 101, 5))


async def test_a_stream_that_has_gone_holds_up_nobody(store: Driver) -> None:
    async with store.stream_all(0) as staying:
        for _ in range(10):
            async with store.stream_all(0) as leaving:
                await leaving.started()
                await store.append_types("a")
        assert [batch.last for batch in await staying.batches(10)] == list(range(1, 11))


async def test_many_streams_see_the_same(store: Driver) -> None:
    async def follow(query: Query) -> list[tuple[int, int, list[int]]]:
        async with store.stream_to(query) as stream:
            await stream.started()
            ready.release()
            return shapes(await stream.batches(20))

    ready = asyncio.Semaphore(0)
    streams = [asyncio.create_task(follow(query)) for query in [EVERYTHING, A, where("{}")] * 10]
    for _ in streams:
        await ready.acquire()
    for _ in range(20):
        await store.append_types("a", "a")
    expected = [(n, n + 1, [n, n + 1]) for n in range(1, 41, 2)]
    for shapes_seen in await asyncio.gather(*streams):
        assert shapes_seen == expected


@pytest.mark.parametrize("tail_bytes", [50_000, MAX_TAIL_BYTES])
async def test_a_large_replay_is_complete_and_in_order(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, tail_bytes: int
) -> None:
    """Longer than a page of any reader; from memory, or most of it from the store."""
    monkeypatch.setattr(dispatcher, "Tail", lambda: Tail(tail_bytes))

    async with make_store(Options()) as store:
        appended = await asyncio.gather(
            *(
                store.append([NewFact("a" if size % 2 else "b", '"' + "x" * 700 + '"')] * size)
                for size in (1 + n * 7 % 5 for n in range(900))
            )
        )
        expected = [(it.first, it.last, list(range(it.first, it.last + 1))) for it in sorted(appended)]
        async with store.stream_all(0) as stream:
            assert shapes(await stream.until_caught_up()) == expected
        async with store.stream_to(A, 0) as stream:
            odd = [(first, last, numbers) for first, last, numbers in expected if len(numbers) % 2]
            assert shapes(await stream.until_caught_up()) == odd
