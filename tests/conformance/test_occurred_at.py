"""occurred_at, and positions in time."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

from tests.conformance.driver import Driver, NewFact

HOUR = timedelta(hours=1) // timedelta(microseconds=1)


async def test_all_facts_of_a_batch_occurred_at_one_time_which_the_answer_names(store: Driver) -> None:
    appended = await store.append([NewFact()] * 50)
    facts = (await store.query()).facts
    assert {fact.occurred_at for fact in facts} == {appended.occurred_at}


async def test_occurred_at_is_when_the_batch_was_committed_in_utc(store: Driver) -> None:
    before = time.time_ns() // 1000
    appended = await store.append([NewFact()])
    after = time.time_ns() // 1000
    # A store's clock may be another machine's.
    assert before - HOUR < appended.occurred_at < after + HOUR


async def test_occurred_at_is_in_microseconds(store: Driver) -> None:
    times = {(await store.append([NewFact()])).occurred_at for _ in range(20)}
    assert any(moment % 1000 for moment in times)


async def test_occurred_at_is_never_earlier_than_that_of_the_batch_before(store: Driver) -> None:
    await asyncio.gather(*(store.append([NewFact()] * (1 + i % 3)) for i in range(60)))
    facts = (await store.query()).facts
    assert all(before.occurred_at <= after.occurred_at for before, after in pairwise(facts))


async def test_occurred_at_survives_a_restart_and_is_not_earlier_after_it(persistent_store: Driver) -> None:
    store = persistent_store
    first = await store.append([NewFact()])
    await store.restart()
    second = await store.append([NewFact()])
    assert [fact.occurred_at for fact in (await store.query()).facts] == [
        first.occurred_at,
        second.occurred_at,
    ]
    assert first.occurred_at <= second.occurred_at


async def test_the_position_at_a_moment_is_the_last_fact_committed_at_or_before_it(store: Driver) -> None:
    times = [(await store.append([NewFact()] * size)).occurred_at for size in (2, 1, 3)]
    assert await store.sequence_number_at(times[0] - 1) == 0
    for moment in times:
        last = max(n for n, t in zip((2, 3, 6), times, strict=True) if t <= moment)
        assert await store.sequence_number_at(moment) == last
    assert await store.sequence_number_at(times[-1] + HOUR) == 6


async def test_the_position_at_any_moment_of_an_empty_log_is_0(store: Driver) -> None:
    assert await store.sequence_number_at(0) == 0
    assert await store.sequence_number_at(time.time_ns() // 1000 + HOUR) == 0


async def test_the_position_before_1970_is_0(store: Driver) -> None:
    await store.append([NewFact()])
    assert await store.sequence_number_at(-1) == 0
    assert await store.sequence_number_at(-62_135_596_800_000_000) == 0
