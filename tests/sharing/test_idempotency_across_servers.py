"""One namespace of idempotency keys, whichever server an append comes to."""

import asyncio

import pytest

from tests.conformance.driver import Appended, Failure, NewFact, of_type, refused
from tests.sharing.conftest import Two
from tests.sharing.servers import Remote

ROUNDS = 40


async def test_the_same_request_at_both_servers_at_once_is_one_commit_and_one_repeat(two: Two) -> None:
    for number in range(ROUNDS):
        facts = [NewFact("a", str(number)), NewFact("b", str(number))]
        answers = await asyncio.gather(*(server.append(facts, key=f"key {number}") for server in two))
        [first] = [answer for answer in answers if not answer.repeated]
        assert sorted(answers) == sorted([first, first.as_repeat])
        assert await two.a.head() == first.last == 2 * (number + 1)


async def test_the_same_conditional_request_at_both_servers_at_once_is_one_commit_and_one_repeat(
    two: Two,
) -> None:
    expected = 0
    for number in range(ROUNDS):
        answers = await asyncio.gather(
            *(server.append_if([NewFact("a")], of_type("a"), expected, key=f"key {number}") for server in two)
        )
        assert sorted(answer.repeated for answer in answers) == [False, True]
        assert {answer.last for answer in answers} == {number + 1}
        expected = number + 1


async def test_different_requests_with_one_key_at_both_servers_at_once_are_one_commit_and_one_error(
    two: Two,
) -> None:
    async def told(server: Remote, number: int, payload: str) -> Appended | str:
        try:
            return await server.append([NewFact("a", payload)], key=f"key {number}")
        except Failure as failure:
            return failure.reason

    for number in range(ROUNDS):
        answers = await asyncio.gather(told(two.a, number, "1"), told(two.b, number, "2"))
        assert [answer for answer in answers if isinstance(answer, str)] == ["IDEMPOTENCY_KEY_REUSED"]
    assert await two.b.head() == ROUNDS


async def test_many_repeats_of_one_request_at_both_servers_are_one_commit(two: Two) -> None:
    answers = await asyncio.gather(
        *(server.append([NewFact()], key="once") for server in two for _ in range(20))
    )
    assert sorted(answer.repeated for answer in answers) == [False] + [True] * 39
    assert {answer.last for answer in answers} == {1}
    assert await two.a.head() == 1


async def test_a_key_used_at_one_server_is_known_at_the_other_at_once(two: Two) -> None:
    for number in range(ROUNDS):
        first = await two.a.append([NewFact("a", str(number))], key=f"key {number}")
        assert await two.b.append([NewFact("a", str(number))], key=f"key {number}") == first.as_repeat
        with refused("IDEMPOTENCY_KEY_REUSED"):
            await two.b.append([NewFact("b")], key=f"key {number}")


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_conflict_at_one_server_leaves_the_key_to_the_other(two: Two, failing: int) -> None:
    await two.a.append_types("a")
    one, other = two[failing], two[1 - failing]
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await one.append_if([NewFact("a")], of_type("a"), 7, key="k")
    assert not (await other.append_if([NewFact("a")], of_type("a"), 1, key="k")).repeated
