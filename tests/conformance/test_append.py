"""Append: numbers, ranges, atomicity, and facts that come back as they were sent."""

import asyncio
from itertools import pairwise

from tests.conformance.driver import Driver, NewFact, refused

INVALID = NewFact(payload="{")


async def test_an_empty_log_has_head_0_and_no_context_version(store: Driver) -> None:
    assert await store.head() == 0
    answer = await store.query()
    assert (answer.facts, answer.last_returned, answer.context_version) == ((), None, None)


async def test_sequence_numbers_start_at_1_and_have_no_gaps(store: Driver) -> None:
    for expected in range(1, 6):
        appended = await store.append([NewFact()])
        assert (appended.first, appended.last) == (expected, expected)
    assert (await store.query()).numbers == [1, 2, 3, 4, 5]
    assert await store.head() == 5


async def test_a_batch_gets_one_consecutive_range_in_the_order_sent(store: Driver) -> None:
    await store.append([NewFact()])
    appended = await store.append([NewFact("a"), NewFact("b"), NewFact("c")])
    assert (appended.first, appended.last, appended.committed) == (2, 4, 3)
    facts = (await store.query()).facts
    assert [(fact.sequence_number, fact.event_type) for fact in facts[1:]] == [(2, "a"), (3, "b"), (4, "c")]


async def test_an_append_is_not_marked_as_a_repeat(store: Driver) -> None:
    assert not (await store.append([NewFact()])).repeated
    assert not (await store.append([NewFact()], key="once")).repeated


async def test_the_numbers_are_global_over_all_event_types(store: Driver) -> None:
    await store.append_types("a", "b")
    assert (await store.append_types("a")).first == 3


async def test_concurrent_appends_get_disjoint_consecutive_ranges_without_gaps(store: Driver) -> None:
    sizes = [1, 3, 2, 5, 1, 1, 4, 2] * 5
    appends = [store.append([NewFact(f"writer-{i}")] * size) for i, size in enumerate(sizes)]
    appended = await asyncio.gather(*appends)
    assert [answer.committed for answer in appended] == sizes
    assert all(answer.last - answer.first + 1 == answer.committed for answer in appended)
    ranges = sorted((answer.first, answer.last) for answer in appended)
    assert ranges[0][0] == 1
    assert ranges[-1][1] == sum(sizes)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
    facts = (await store.query()).facts
    for i, answer in enumerate(appended):
        own = facts[answer.first - 1 : answer.last]
        assert {fact.event_type for fact in own} == {f"writer-{i}"}


async def test_one_client_that_waits_for_each_answer_sees_its_appends_in_order(store: Driver) -> None:
    async def write(writer: int) -> list[int]:
        return [(await store.append([NewFact(f"writer-{writer}")])).first for _ in range(20)]

    for numbers in await asyncio.gather(*(write(writer) for writer in range(4))):
        assert numbers == sorted(numbers)


async def test_an_answered_append_is_visible_to_every_later_query(store: Driver) -> None:
    for _ in range(20):
        appended = await store.append([NewFact()])
        assert (await store.query(limit=1, descending=True)).last_returned == appended.last


async def test_a_batch_with_one_invalid_fact_commits_none_of_it(store: Driver) -> None:
    with refused("INVALID_PAYLOAD", "events[1].payload"):
        await store.append([NewFact("first"), INVALID, NewFact("last")])
    assert (await store.query()).facts == ()
    assert await store.head() == 0


async def test_an_empty_append_is_refused(store: Driver) -> None:
    with refused("EMPTY_APPEND", "events"):
        await store.append([])
    assert await store.head() == 0


async def test_failed_append_does_not_consume_sequence_numbers_for_later_commits(store: Driver) -> None:
    await store.append([NewFact()])
    with refused("EMPTY_APPEND"):
        await store.append([])
    with refused("INVALID_PAYLOAD"):
        await store.append([NewFact(), INVALID])
    with refused("BATCH_TOO_LARGE"):
        await store.append([NewFact()] * 10_001)
    assert (await store.append([NewFact()])).first == 2
    assert (await store.query()).numbers == [1, 2]


async def test_an_append_never_fails_because_of_one_that_shares_its_commit(store: Driver) -> None:
    await store.append([NewFact("taken")], key="taken")
    good = [store.append([NewFact("good")] * (1 + i % 3)) for i in range(30)]
    reused = [store.append([NewFact("other")], key="taken") for _ in range(15)]
    invalid = [store.append([INVALID]) for _ in range(15)]
    mixed = [task for three in zip(good[:15], reused, invalid, strict=True) for task in three] + good[15:]
    outcomes = await asyncio.gather(*mixed, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(failed) == 30
    facts = (await store.query()).facts
    assert [fact.sequence_number for fact in facts] == list(range(1, 62))
    assert {fact.event_type for fact in facts} == {"taken", "good"}


async def test_event_type_payload_and_metadata_come_back_as_sent(store: Driver) -> None:
    sent = [
        NewFact("order placed", '{"id": 1}', {"source": "web", "trace": "abc"}),
        NewFact("π…💶 \"quoted\" \\ 'single' \u2028", "null", {"ключ": "значение", "empty": ""}),
    ]
    await store.append(sent)
    assert [fact.appended for fact in (await store.query()).facts] == sent


async def test_the_payload_comes_back_byte_for_byte(store: Driver) -> None:
    payloads = [
        ' { "b" : 1 ,\t"a" : [ 1.0 , 1e0,10E-1 ] }\r\n',
        '{"z":1,"a":2,"m":{"y":1,"b":2}}',
        r'"\u00e9 \/ \n \ud83d\ude00 A"',
        '"é 😀 A e\u0301"',
        '{"a":1,"a":2,"a":{"b":1,"b":null}}',
        "-0.0",
        "1E+2",
        "12345678901234567890123456789012345678901234567890",
        "0.1000000000000000055511151231257827021181583404541015625",
        "\n\n[]\n",
    ]
    await store.append_payloads(*payloads)
    assert (await store.query()).payloads == payloads


async def test_equal_facts_are_separate_facts(store: Driver) -> None:
    await store.append([NewFact()] * 3)
    await store.append([NewFact()])
    assert (await store.query()).numbers == [1, 2, 3, 4]
