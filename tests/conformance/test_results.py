"""What a query returns: order, cursors, limits, versions, and one snapshot."""

import asyncio

import pytest

from tests.conformance.driver import EVERYTHING, Driver, NewFact, Query, of_type, where

SIGNED = 2**63 - 1
ABOVE_EVERY_FACT = (SIGNED, SIGNED + 1, 2**64 - 1)
ODD = of_type("odd")


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Facts 1 to 9, odd and even by type."""
    for numbers in (range(1, 4), range(4, 5), range(5, 10)):
        await store.append([NewFact("odd" if n % 2 else "even", str(n)) for n in numbers])
    return store


async def test_facts_come_in_ascending_order(stocked: Driver) -> None:
    assert (await stocked.query()).numbers == list(range(1, 10))
    assert (await stocked.query(ODD)).numbers == [1, 3, 5, 7, 9]


async def test_descending_order_is_newest_first(stocked: Driver) -> None:
    assert (await stocked.query(descending=True)).numbers == list(range(9, 0, -1))
    assert (await stocked.query(ODD, descending=True)).numbers == [9, 7, 5, 3, 1]


async def test_the_limit_cuts_in_the_order_asked(stocked: Driver) -> None:
    assert (await stocked.query(ODD, limit=2)).numbers == [1, 3]
    assert (await stocked.query(ODD, limit=2, descending=True)).numbers == [9, 7]
    assert (await stocked.query(ODD, limit=5)).numbers == [1, 3, 5, 7, 9]
    for limit in (6, 10_000, *ABOVE_EVERY_FACT):
        assert (await stocked.query(ODD, limit=limit)).numbers == [1, 3, 5, 7, 9]


@pytest.mark.parametrize("descending", [False, True])
async def test_limit_0_returns_no_facts_but_the_context_version(stocked: Driver, descending: bool) -> None:
    answer = await stocked.query(ODD, limit=0, descending=descending)
    assert (answer.facts, answer.last_returned, answer.context_version) == ((), None, 9)
    assert len(answer.parts) == 1


async def test_min_sequence_number_is_an_exclusive_cursor(stocked: Driver) -> None:
    assert (await stocked.query(ODD._replace(after=3))).numbers == [5, 7, 9]
    assert (await stocked.query(ODD._replace(after=4))).numbers == [5, 7, 9]
    assert (await stocked.query(ODD._replace(after=0))).numbers == [1, 3, 5, 7, 9]
    assert (await stocked.query(Query(after=8))).numbers == [9]
    assert (await stocked.query(Query(after=9))).numbers == []


async def test_before_is_an_exclusive_bound_in_both_orders(stocked: Driver) -> None:
    assert (await stocked.query(ODD, before=5)).numbers == [1, 3]
    assert (await stocked.query(ODD, before=6, descending=True)).numbers == [5, 3, 1]
    assert (await stocked.query(before=1)).numbers == []
    assert (await stocked.query(before=0)).numbers == []
    assert (await stocked.query(before=0, descending=True)).numbers == []


async def test_cursor_bound_limit_and_order_combine(stocked: Driver) -> None:
    after_2 = Query(ODD.filters, after=2)
    assert (await stocked.query(after_2, before=9)).numbers == [3, 5, 7]
    assert (await stocked.query(after_2, before=9, limit=2)).numbers == [3, 5]
    assert (await stocked.query(after_2, before=9, limit=2, descending=True)).numbers == [7, 5]
    assert (await stocked.query(after_2, before=3)).numbers == []
    assert (await stocked.query(Query(after=7), before=3, descending=True)).numbers == []


@pytest.mark.parametrize("position", ABOVE_EVERY_FACT)
async def test_positions_beyond_the_log_mean_above_every_fact(stocked: Driver, position: int) -> None:
    for descending in (False, True):
        beyond = await stocked.query(ODD._replace(after=position), descending=descending)
        assert (beyond.facts, beyond.last_returned, beyond.context_version) == ((), None, 9)
        assert len((await stocked.query(ODD, before=position, descending=descending)).facts) == 5
        nothing = await stocked.query(Query(after=position), before=position, descending=descending)
        assert nothing.facts == ()


async def test_pages_of_a_descending_read_join_without_gap_or_repeat(stocked: Driver) -> None:
    seen: list[int] = []
    before = None
    while (page := await stocked.query(EVERYTHING, limit=2, descending=True, before=before)).facts:
        seen += page.numbers
        before = page.last_returned
    assert seen == list(range(9, 0, -1))


async def test_pages_of_an_ascending_read_join_without_gap_or_repeat(stocked: Driver) -> None:
    seen: list[int] = []
    after = 0
    while (page := await stocked.query(ODD._replace(after=after), limit=2)).facts:
        seen += page.numbers
        assert page.last_returned is not None
        after = page.last_returned
    assert seen == [1, 3, 5, 7, 9]


async def test_last_returned_speaks_of_the_returned_facts_in_the_order_asked(stocked: Driver) -> None:
    assert (await stocked.query(ODD, limit=2)).last_returned == 3
    assert (await stocked.query(ODD, limit=2, descending=True)).last_returned == 7
    assert (await stocked.query(ODD, descending=True)).last_returned == 1
    assert (await stocked.query(ODD._replace(after=9))).last_returned is None


async def test_the_context_version_speaks_of_the_full_context(stocked: Driver) -> None:
    assert (await stocked.query(of_type("even"), limit=1)).context_version == 8
    for cursor in (0, 1, 8, 9, 100, *ABOVE_EVERY_FACT):
        answer = await stocked.query(of_type("even")._replace(after=cursor), before=3)
        assert answer.context_version == 8
    assert (await stocked.query(of_type("even"), before=2, descending=True)).context_version == 8


async def test_the_context_version_is_unset_when_nothing_matches(stocked: Driver) -> None:
    answer = await stocked.query(of_type("neither"))
    assert (answer.facts, answer.last_returned, answer.context_version) == ((), None, None)


async def test_an_empty_result_is_exactly_one_message(store: Driver) -> None:
    for query in (EVERYTHING, ODD, of_type(), where('{"x":1}'), where(), Query(after=5)):
        for limit in (None, 0, 1):
            for descending in (False, True):
                answer = await store.query(query, limit=limit, descending=descending)
                assert (len(answer.parts), answer.facts) == (1, ())


async def test_a_query_during_appends_returns_exactly_the_facts_up_to_its_context_version(
    store: Driver,
) -> None:
    """A result of several messages, read slowly while writers add to it between any two of them."""
    text = '"' + "x" * 2_000 + '"'
    await store.append([NewFact("seen", text)] * 600)
    for descending in (False, True):
        numbers: list[int] = []
        version = None
        head = await store.head()
        async for part in store.parts(of_type("seen"), descending=descending):
            version = part.context_version
            numbers += [fact.sequence_number for fact in part.facts]
            await asyncio.gather(*(store.append([NewFact("seen", text)] * 7) for _ in range(3)))
        assert version == head
        assert sorted(numbers, reverse=descending) == numbers
        assert sorted(numbers) == list(range(1, head + 1))
        assert await store.head() > head


async def test_queries_beside_busy_writers_see_whole_batches_and_no_gaps(store: Driver) -> None:
    writing = True

    async def write(writer: int) -> None:
        while writing:
            await store.append([NewFact(f"writer-{writer}")] * 3)

    writers = [asyncio.create_task(write(writer)) for writer in range(3)]
    for _ in range(25):
        answer = await store.query()
        assert answer.numbers == list(range(1, (answer.context_version or 0) + 1))
        assert len(answer.facts) % 3 == 0
        own = await store.query(of_type("writer-1"))
        assert own.context_version == (own.numbers[-1] if own.numbers else None)
        assert len(own.facts) % 3 == 0
    writing = False
    await asyncio.gather(*writers)
