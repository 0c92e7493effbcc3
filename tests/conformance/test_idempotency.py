"""Idempotency keys: the same key with the same request gives the first result; with another it is an error."""

import asyncio
from datetime import timedelta

import pytest

from tests.conformance.conftest import MakeStore
from tests.conformance.driver import Driver, Failure, Filter, NewFact, Options, Query, of_type, refused

FACTS = [NewFact("paid", '{"amount": 1}', {"source": "web"}), NewFact("shipped")]


async def test_the_same_key_with_the_same_request_returns_the_first_result_marked_as_a_repeat(
    store: Driver,
) -> None:
    await store.append([NewFact()])
    first = await store.append(FACTS, key="k")
    await store.append([NewFact()])
    assert await store.append(FACTS, key="k") == first.as_repeat
    assert await store.append(FACTS, key="k") == first.as_repeat
    assert await store.head() == 4


async def test_without_a_key_the_same_request_is_another_append(store: Driver) -> None:
    first = await store.append(FACTS)
    assert (await store.append(FACTS)).first == first.last + 1


async def test_keys_that_differ_are_different_appends(store: Driver) -> None:
    keys = ["k", "K", "k ", "é", "e\u0301", "1", "01"]
    for number, key in enumerate(keys, 1):
        assert (await store.append([NewFact()], key=key)).first == number


OTHER_REQUESTS = {
    "fewer facts": FACTS[:1],
    "more facts": [*FACTS, NewFact()],
    "another order": FACTS[::-1],
    "another event type": [FACTS[0]._replace(event_type="Paid"), FACTS[1]],
    "another payload": [FACTS[0]._replace(payload='{"amount": 2}'), FACTS[1]],
    "equal JSON, other bytes": [FACTS[0]._replace(payload='{"amount":1}'), FACTS[1]],
    "an equal number": [FACTS[0]._replace(payload='{"amount": 1.0}'), FACTS[1]],
    "another metadata value": [FACTS[0]._replace(metadata={"source": "app"}), FACTS[1]],
    "another metadata key": [FACTS[0]._replace(metadata={"origin": "web"}), FACTS[1]],
    "no metadata": [FACTS[0]._replace(metadata={}), FACTS[1]],
    "metadata elsewhere": [FACTS[0], FACTS[1]._replace(metadata={"source": "web"})],
}


async def test_the_same_key_with_another_request_is_refused_and_commits_nothing(store: Driver) -> None:
    first = await store.append(FACTS, key="k")
    for difference, other in OTHER_REQUESTS.items():
        with refused("IDEMPOTENCY_KEY_REUSED"):
            pytest.fail(f"{difference}: {await store.append(other, key='k')}")
    assert await store.head() == 2
    assert await store.append(FACTS, key="k") == first.as_repeat
    assert (await store.append([NewFact()])).first == 3


async def test_the_order_of_metadata_entries_does_not_make_another_request(store: Driver) -> None:
    first = await store.append([NewFact(metadata={"a": "1", "b": "2"})], key="k")
    assert await store.append([NewFact(metadata={"b": "2", "a": "1"})], key="k") == first.as_repeat


async def test_facts_that_run_together_to_the_same_bytes_are_another_request(store: Driver) -> None:
    await store.append([NewFact("a", "1"), NewFact("b", "2")], key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append([NewFact("a", "1", {"b": "2"})], key="k")


async def test_keys_work_for_conditional_appends(store: Driver) -> None:
    first = await store.append_if(FACTS, of_type("paid"), None, key="k")
    assert not first.repeated
    assert await store.append_if(FACTS, of_type("paid"), None, key="k") == first.as_repeat
    assert await store.head() == 2


async def test_a_repeated_conditional_append_returns_the_first_result_although_the_context_has_changed(
    store: Driver,
) -> None:
    first = await store.append_if(FACTS, of_type("paid"), None, key="k")
    await store.append_types("paid", "paid")
    assert await store.append_if(FACTS, of_type("paid"), None, key="k") == first.as_repeat


async def test_append_and_append_if_share_one_namespace_and_are_different_requests(store: Driver) -> None:
    await store.append(FACTS, key="plain")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append_if(FACTS, Query(), 2, key="plain")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append_if(FACTS, Query(), None, key="plain")
    await store.append_if(FACTS, Query(), 2, key="conditional")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append(FACTS, key="conditional")


async def test_another_expected_version_is_another_request(store: Driver) -> None:
    await store.append_types("paid")
    await store.append_if(FACTS, of_type("paid"), 1, key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append_if(FACTS, of_type("paid"), 2, key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append_if(FACTS, of_type("paid"), None, key="k")


async def test_another_context_query_is_another_request(store: Driver) -> None:
    await store.append_if(FACTS, of_type("a"), None, key="k")
    for other in (Query(), of_type(), of_type("b"), of_type("a", "b")):
        with refused("IDEMPOTENCY_KEY_REUSED"):
            await store.append_if(FACTS, other, None, key="k")


async def test_a_context_query_with_the_same_canonical_form_is_the_same_request(store: Driver) -> None:
    one, other = canonical_twins()
    first = await store.append_if(FACTS, one, None, key="k")
    assert await store.append_if(FACTS, other, None, key="k") == first.as_repeat


def canonical_twins() -> tuple[Query, Query]:
    """The same query, written in two ways."""
    one = Query(
        (
            Filter(types=("a", "b")),
            Filter(types=("c",), predicates=('{"x": 1, "y": {"z": [1, "two"]}}', '{"n": 100}')),
        ),
        after=1,
    )
    other = Query(
        (
            Filter(
                types=("c", "c"),
                predicates=('{"n":1e2}', '{"y":{"z":["two",1.0,1]},"x":10e-1}', '{"n": 100.00}'),
            ),
            Filter(types=("b", "a", "b")),
            Filter(types=("a", "b")),
        ),
    )
    return one, other


async def test_a_failed_append_stores_nothing_under_its_key(store: Driver) -> None:
    with refused("INVALID_PAYLOAD"):
        await store.append([NewFact(payload="{")], key="k")
    with refused("BATCH_TOO_LARGE"):
        await store.append([NewFact()] * 10_001, key="k")
    with refused("EMPTY_APPEND"):
        await store.append([], key="k")
    assert not (await store.append(FACTS, key="k")).repeated


async def test_a_conflict_stores_nothing_under_its_key(store: Driver) -> None:
    await store.append_types("paid")
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await store.append_if(FACTS, of_type("paid"), None, key="k")
    assert not (await store.append_if(FACTS, of_type("paid"), 1, key="k")).repeated
    assert await store.head() == 3


async def test_a_refused_reuse_stores_nothing_under_its_key(store: Driver) -> None:
    first = await store.append(FACTS, key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append([NewFact()], key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append([NewFact()], key="k")
    assert await store.append(FACTS, key="k") == first.as_repeat


async def test_concurrent_appends_with_the_same_key_commit_once(store: Driver) -> None:
    answers = await asyncio.gather(*(store.append(FACTS, key="k") for _ in range(20)))
    assert sorted(answer.repeated for answer in answers) == [False] + [True] * 19
    assert len({answer.as_repeat for answer in answers}) == 1
    assert await store.head() == 2


async def test_of_concurrent_different_requests_with_one_key_exactly_one_is_committed(store: Driver) -> None:
    outcomes = await asyncio.gather(
        *(store.append([NewFact(f"request-{i}")], key="k") for i in range(20)), return_exceptions=True
    )
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [failure.reason for failure in failures] == ["IDEMPOTENCY_KEY_REUSED"] * 19
    assert await store.head() == 1


async def test_of_a_repeat_and_a_reuse_beside_the_first_each_gets_its_own_outcome(store: Driver) -> None:
    one, same, other, plain = await asyncio.gather(
        store.append(FACTS, key="k"),
        store.append(FACTS, key="k"),
        store.append([NewFact()], key="k"),
        store.append([NewFact()]),
        return_exceptions=True,
    )
    assert not isinstance(plain, BaseException)
    winners = [outcome for outcome in (one, same, other) if not isinstance(outcome, BaseException)]
    assert sum(not winner.repeated for winner in winners) == 1
    assert await store.head() == 1 + winners[0].committed


async def test_keys_and_their_results_survive_a_restart(persistent_store: Driver) -> None:
    store = persistent_store
    first = await store.append(FACTS, key="plain")
    conditional = await store.append_if([NewFact()], of_type("x"), None, key="conditional")
    await store.restart()
    assert await store.append(FACTS, key="plain") == first.as_repeat
    assert await store.append_if([NewFact()], of_type("x"), 0, key="conditional") == conditional.as_repeat
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append([NewFact()], key="plain")
    assert await store.head() == 3


async def test_a_key_is_forgotten_once_its_retention_is_over(make_store: MakeStore) -> None:
    async with make_store(Options(idempotency_retention=timedelta(microseconds=1))) as store:
        first = await store.append(FACTS, key="k")
        while (await store.append([NewFact()])).occurred_at <= first.occurred_at + 1:
            pass
        again = await store.append(FACTS, key="k")
        assert not again.repeated
        assert again.first > first.last


async def test_a_key_is_kept_until_its_retention_is_over(make_store: MakeStore) -> None:
    async with make_store(Options(idempotency_retention=timedelta(hours=1))) as store:
        first = await store.append(FACTS, key="k")
        await store.append([NewFact()])
        assert await store.append(FACTS, key="k") == first.as_repeat
