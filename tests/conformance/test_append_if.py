"""append_if: commits only if the context's version equals the expected one, in one atomic step."""

import asyncio

import pytest

from tests.conformance.driver import Driver, Failure, Filter, NewFact, Query, of_type, refused, where

BEYOND_SIGNED = 2**63
LARGEST = 2**64 - 1


async def test_a_conditional_append_commits_when_the_context_has_the_expected_version(store: Driver) -> None:
    await store.append_types("a", "b", "a", "b")
    appended = await store.append_if([NewFact("a"), NewFact("c")], of_type("a"), 3)
    assert (appended.first, appended.last, appended.committed, appended.repeated) == (5, 6, 2, False)
    assert await store.version(of_type("a")) == 5


@pytest.mark.parametrize("expected", [None, 0])
async def test_unset_and_0_expect_that_no_fact_matches(store: Driver, expected: int | None) -> None:
    await store.append_types("b")
    assert (await store.append_if([NewFact("a")], of_type("a"), expected)).first == 2
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await store.append_if([NewFact("a")], of_type("a"), expected)
    assert (caught.value.expected, caught.value.actual) == (expected, 2)


@pytest.mark.parametrize("expected", [1, 2, 4, 5, 1_000_000])
async def test_any_other_version_conflicts_also_one_above_the_actual_one(
    store: Driver, expected: int
) -> None:
    await store.append_types("a", "b", "a", "b")
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await store.append_if([NewFact("a")], of_type("a"), expected)
    assert (caught.value.expected, caught.value.actual) == (expected, 3)
    assert await store.head() == 4


async def test_a_conflict_names_the_expected_and_no_actual_version_when_nothing_matches(
    store: Driver,
) -> None:
    await store.append_types("b")
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await store.append_if([NewFact("a")], of_type("a"), 1)
    assert (caught.value.expected, caught.value.actual) == (1, None)


@pytest.mark.parametrize("expected", [BEYOND_SIGNED - 1, BEYOND_SIGNED, LARGEST])
async def test_an_expected_version_above_every_fact_conflicts(store: Driver, expected: int) -> None:
    for actual in (None, 1):
        with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
            await store.append_if([NewFact("a")], Query(), expected)
        assert (caught.value.expected, caught.value.actual) == (expected, actual)
        await store.append_types("a")


async def test_failed_conditional_append_does_not_consume_sequence_numbers_for_later_commits(
    store: Driver,
) -> None:
    await store.append_types("a")
    for _ in range(3):
        with refused("CONDITIONAL_APPEND_CONFLICT"):
            await store.append_if([NewFact("a")] * 5, of_type("a"), None)
    assert (await store.append_types("b")).first == 2
    assert (await store.query()).numbers == [1, 2]


async def test_failed_conditional_append_commits_none_of_its_batch(store: Driver) -> None:
    await store.append_types("a")
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await store.append_if([NewFact("x"), NewFact("y")], of_type("a"), 7)
    assert (await store.query(of_type("x", "y"))).facts == ()


async def test_a_condition_on_no_filters_is_on_the_whole_log(store: Driver) -> None:
    await store.append_if([NewFact("a")], Query(), None)
    await store.append_if([NewFact("b")], Query(), 1)
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await store.append_if([NewFact("c")], Query(), 1)
    assert caught.value.actual == 2


async def test_a_condition_that_nothing_can_match_always_expects_nothing(store: Driver) -> None:
    await store.append_types("a")
    for nothing in (of_type(), where(), Query((Filter(types=("a",), predicates=()),))):
        await store.append_if([NewFact("a")], nothing, None)
        with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
            await store.append_if([NewFact("a")], nothing, 1)
        assert caught.value.actual is None


async def test_facts_outside_the_context_do_not_conflict(store: Driver) -> None:
    await store.append([NewFact("a", '{"id": 1}')])
    await store.append([NewFact("a", '{"id": 2}'), NewFact("b", '{"id": 1}')])
    context = Query((Filter(types=("a",), predicates=('{"id": 1}',)),))
    assert (await store.append_if([NewFact("a", '{"id": 1}')], context, 1)).first == 4


async def test_a_context_by_payload_conflicts_when_a_matching_fact_was_added(store: Driver) -> None:
    await store.append([NewFact(payload='{"id": 1, "more": true}')])
    context = where('{"id": 1.0}')
    assert await store.version(context) == 1
    await store.append([NewFact("other type", '{"x": 0, "id": 1e0}')])
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await store.append_if([NewFact()], context, 1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)


async def test_min_sequence_number_never_narrows_a_condition(store: Driver) -> None:
    await store.append_types("a", "b", "b")
    for cursor in (0, 1, 2, 3, 100, LARGEST):
        with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
            await store.append_if([NewFact()], of_type("a")._replace(after=cursor), None)
        assert caught.value.actual == 1
    assert (await store.append_if([NewFact()], of_type("a")._replace(after=100), 1)).first == 4


async def test_of_concurrent_conditional_appends_on_one_context_exactly_one_wins(store: Driver) -> None:
    await store.append_types("a")
    outcomes = await asyncio.gather(
        *(store.append_if([NewFact("a", str(i))], of_type("a"), 1) for i in range(25)),
        return_exceptions=True,
    )
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [conflict.reason for conflict in conflicts] == ["CONDITIONAL_APPEND_CONFLICT"] * 24
    assert {(conflict.expected, conflict.actual) for conflict in conflicts} == {(1, 2)}
    assert await store.head() == 2


async def test_concurrent_conditional_appends_on_different_contexts_all_win(store: Driver) -> None:
    answers = await asyncio.gather(
        *(store.append_if([NewFact("a", f'{{"id": {i}}}')], where(f'{{"id": {i}}}'), None) for i in range(25))
    )
    assert sorted(answer.first for answer in answers) == list(range(1, 26))


async def test_concurrent_increments_that_retry_on_conflict_lose_nothing(store: Driver) -> None:
    """The reason for conditions: each decision is taken on all that was decided before."""

    async def increment() -> None:
        while True:
            context = await store.query(of_type("counted"))
            fact = NewFact("counted", str(len(context.facts)))
            try:
                await store.append_if([fact], of_type("counted"), context.context_version)
            except Failure as failure:
                assert failure.reason == "CONDITIONAL_APPEND_CONFLICT"  # noqa: PT017
            else:
                return

    await asyncio.gather(*(increment() for _ in range(12)))
    assert (await store.query()).payloads == [str(i) for i in range(12)]


async def test_a_condition_sees_appends_that_share_its_commit(store: Driver) -> None:
    """Whatever is grouped: plain appends and conditions on the same context never both win unseen."""
    outcomes = await asyncio.gather(
        *(
            store.append([NewFact("a")]) if i % 2 else store.append_if([NewFact("a")], of_type("a"), None)
            for i in range(40)
        ),
        return_exceptions=True,
    )
    conditional = outcomes[::2]
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1::2])
    won = [outcome for outcome in conditional if not isinstance(outcome, BaseException)]
    assert [outcome.first for outcome in won] in ([], [1])
    for outcome in conditional:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Failure)
            assert outcome.actual is not None
    assert await store.head() == 20 + len(won)


async def test_a_context_keeps_its_version_over_a_restart(persistent_store: Driver) -> None:
    store = persistent_store
    await store.append([NewFact("a", '{"id": 1}'), NewFact("b", '{"id": 1}'), NewFact("a", '{"id": 2}')])
    await store.restart()
    assert await store.version(where('{"id": 1}')) == 2
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await store.append_if([NewFact()], where('{"id": 1}'), 1)
    assert (await store.append_if([NewFact()], where('{"id": 1}'), 2)).first == 4
