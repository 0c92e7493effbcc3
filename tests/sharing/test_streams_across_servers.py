"""What is appended through one server reaches the streams of another."""

import asyncio
import random

from tests.conformance.driver import NewFact, of_type
from tests.conformance.streams import Batch, Stream
from tests.sharing.conftest import Two


async def follow(stream: Stream, last: int) -> list[Batch]:
    """Its batches up to the one that ends there."""
    batches: list[Batch] = []
    while not batches or batches[-1].last < last:
        batches.append(await stream.next_of(Batch))
    return batches


async def test_a_batch_appended_through_one_server_reaches_all_kinds_of_streams_of_the_other(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    wanted = of_type("wanted")
    async with (
        b.stream_all() as everything,
        b.stream_to(wanted) as filtered,
        b.stream_all_durable("everything") as durable,
        b.stream_to_durable("wanted", wanted) as filtered_durable,
    ):
        for stream in (everything, filtered, durable, filtered_durable):
            await stream.started()
        await a.append_types("other")
        await a.append_types("wanted", "other", "wanted")
        assert [batch.shape for batch in await everything.batches(2)] == [(1, 1, [1]), (2, 4, [2, 3, 4])]
        assert [batch.shape for batch in await filtered.batches(1)] == [(2, 4, [2, 4])]
        assert [batch.shape for batch in await durable.batches(2)] == [(1, 1, [1]), (2, 4, [2, 3, 4])]
        assert [batch.shape for batch in await filtered_durable.batches(1)] == [(2, 4, [2, 4])]


async def test_each_append_reaches_the_other_server_although_nothing_follows_it(two_either_way: Two) -> None:
    a, b = two_either_way
    async with a.stream_all() as at_a, b.stream_all() as at_b:
        await at_a.started()
        await at_b.started()
        for number in range(1, 31):
            through = (a, b)[number % 2]
            appended = await through.append([NewFact("a", str(number))])
            for stream in (at_a, at_b):
                [batch] = await stream.batches(1)
                assert (batch.first, batch.last) == (appended.first, appended.last)
                assert batch.facts[0].payload == str(number)


async def test_appends_through_both_servers_at_once_come_in_one_order_to_streams_of_both(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sizes = [[chance.choice((1, 1, 1, 2, 50)) for _ in range(60)] for _ in (a, b)]
    head = sum(map(sum, sizes))

    async def append(through: int) -> None:
        for size in sizes[through]:
            await (a, b)[through].append_types(*[f"through {through}"] * size)

    async with a.stream_all() as at_a, b.stream_all() as at_b, b.stream_to(of_type("through 0")) as filtered:
        for stream in (at_a, at_b, filtered):
            await stream.started()
        appending = asyncio.gather(append(0), append(1))
        seen = await asyncio.gather(follow(at_a, head), follow(at_b, head))
        await appending
        assert seen[0] == seen[1]
        assert [number for batch in seen[0] for number in batch.numbers] == list(range(1, head + 1))
        mine = [batch for batch in seen[0] if batch.facts[0].event_type == "through 0"]
        assert await filtered.batches(len(mine)) == mine


async def test_many_facts_at_once_reach_the_other_server_too(two_either_way: Two) -> None:
    """More than a server follows by itself for its streams."""
    a, b = two_either_way
    async with b.stream_all() as everything, b.stream_to(of_type("last")) as filtered:
        await everything.started()
        await filtered.started()
        await asyncio.gather(*(a.append_types(*["many"] * 4_000) for _ in range(3)))
        last = await a.append_types("last")
        batches = await follow(everything, last.last)
        assert [len(batch.facts) for batch in batches] == [4_000, 4_000, 4_000, 1]
        assert [batch.shape for batch in await filtered.batches(1)] == [(12_001, 12_001, [12_001])]


async def test_a_stream_that_begins_at_the_head_after_an_answer_of_the_other_server_begins_after_it(
    two_either_way: Two,
) -> None:
    a, b = two_either_way

    async def appends_and_streams(through: int) -> None:
        appending, streaming = (a, b) if through % 2 else (b, a)
        for _ in range(25):
            answered = await appending.append_types("a")
            async with streaming.stream_all() as stream, streaming.stream_to(of_type("a")) as filtered:
                after = (await stream.started()).after
                filtered_after = (await filtered.started()).after
                assert after >= answered.last
                assert filtered_after >= answered.last
                await appending.append_types("a")
                assert (await stream.next_of(Batch)).first == after + 1
                assert (await filtered.next_of(Batch)).first == filtered_after + 1

    await asyncio.gather(*map(appends_and_streams, range(4)))


async def test_a_position_that_one_server_answered_can_be_streamed_from_at_the_other_at_once(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    for _ in range(20):
        answered = await a.append_types("a")
        async with b.stream_all(after=answered.last) as stream:
            assert (await stream.started()).after == answered.last
        async with b.stream_all(after=answered.last - 1) as stream:
            assert (await stream.next_of(Batch)).first == answered.last


async def test_a_stream_is_caught_up_only_with_all_that_the_other_server_had_answered_before_it_began(
    two_either_way: Two,
) -> None:
    """Who reads until then, to see what was written before, sees it through any server."""
    a, b = two_either_way
    for number in range(25):
        answered = await a.append_types("a")
        name = f"durable {number}"
        async with b.stream_all(after=answered.last - 1) as stream, b.stream_all_durable(name) as durable:
            assert [batch.last for batch in await stream.until_caught_up()] == [answered.last]
            assert [batch.last for batch in await durable.until_caught_up()][-1:] == [answered.last]


async def test_a_query_sees_what_the_other_server_has_answered(two_either_way: Two) -> None:
    a, b = two_either_way
    for number in range(1, 51):
        appended = await a.append_types("a")
        answer = await b.query(of_type("a"))
        assert (answer.context_version, len(answer.facts)) == (appended.last, number)
        assert await b.head() == appended.last


async def test_a_condition_sees_what_the_other_server_has_answered(two_either_way: Two) -> None:
    a, b = two_either_way
    expected: int | None = None
    for number in range(50):
        through = (a, b)[number % 2]
        appended = await through.append_if([NewFact("a")], of_type("a"), expected)
        expected = appended.last
    assert expected == 50
