"""A connection that is lost while it commits: what became of the append is found out, and its answer is the same as if
nothing had happened.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.conformance.driver import Failure, NewFact, of_type, refused
from tests.conformance.streams import Batch, eventually
from tests.failover.proxy import Cut, Proxy
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote, serving

IMPATIENT = timedelta(seconds=0.5)


@pytest.fixture
async def store(url_by_proxy: str) -> AsyncIterator[Remote]:
    """A server that reaches its database through the proxy."""
    async with serving(url_by_proxy) as store:
        yield store


async def contents(store: Remote) -> list[str]:
    return [fact.event_type for batch in await whole_log(store) for fact in batch.facts]


@pytest.mark.parametrize("cut", Cut)
async def test_an_append_whose_commit_is_cut_is_committed_once_and_answered_as_such(
    store: Remote, proxy: Proxy, cut: Cut
) -> None:
    expected: list[str] = []
    for number in range(6):
        event_type = f"fact {number}"
        proxy.cut_next_commit(cut)
        # With a key and without one, alone and several at once.
        key = f"key {number}" if number % 2 else ""
        answer = await store.append([NewFact(event_type), NewFact(event_type)], key=key)
        assert not answer.repeated
        assert (answer.first, answer.last) == (len(expected) + 1, len(expected) + 2)
        expected += [event_type, event_type]
        if key:
            facts = [NewFact(event_type), NewFact(event_type)]
            assert await store.append(facts, key=key) == answer.as_repeat
        assert proxy.cuts == number + 1
    assert await contents(store) == expected


@pytest.mark.parametrize("cut", Cut)
async def test_all_of_a_group_whose_commit_is_cut_get_their_own_outcomes(
    store: Remote, proxy: Proxy, cut: Cut
) -> None:
    await store.append([NewFact("known")], key="known")
    for number in range(1, 4):
        proxy.cut_next_commit(cut)
        appends = [asyncio.create_task(store.append_types(f"{number}-{n}")) for n in range(10)]
        # One of two that expect the same wins, and what it does is not a conflict with itself.
        wanted = of_type(f"{number}-wanted")
        rivals = [
            asyncio.create_task(store.append_if([NewFact(f"{number}-wanted")], wanted, None))
            for _ in range(2)
        ]
        repeat = await store.append([NewFact("known")], key="known")
        assert (repeat.first, repeat.repeated) == (1, True)
        answers = await asyncio.gather(*appends, *rivals, return_exceptions=True)
        conflicts = [answer for answer in answers if isinstance(answer, Failure)]
        assert [failure.reason for failure in conflicts] == ["CONDITIONAL_APPEND_CONFLICT"]
        committed = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(committed) == 11
        assert conflicts[0].actual in [answer.last for answer in committed]
        assert proxy.cuts == number
    log = await contents(store)
    assert len(log) == len(set(log)) == 1 + 3 * 11
    assert await store.head() == len(log)


@pytest.mark.parametrize("cut", Cut)
async def test_streams_deliver_what_was_committed_through_a_lost_connection_once(
    store: Remote, proxy: Proxy, cut: Cut
) -> None:
    async with store.stream_all() as everything, store.stream_to(of_type("b")) as filtered:
        await everything.started()
        await filtered.started()
        for number in range(1, 6):
            proxy.cut_next_commit(cut)
            await store.append_types("a", "b")
            assert [batch.shape for batch in await everything.batches(1)] == [
                (2 * number - 1, 2 * number, [2 * number - 1, 2 * number])
            ]
            assert (await filtered.next_of(Batch)).numbers == [2 * number]


@pytest.mark.parametrize(
    ("cut", "committed"), [(Cut.BEFORE, False), (Cut.MEANWHILE, True), (Cut.AFTER, True)]
)
async def test_when_the_database_does_not_come_back_in_time_the_outcome_is_unknown_and_the_key_tells_it_later(
    url_by_proxy: str, proxy: Proxy, cut: Cut, committed: bool
) -> None:
    async with serving(url_by_proxy, unavailable_wait=IMPATIENT) as store, store.stream_all() as stream:
        await stream.started()
        proxy.cut_next_commit(cut, and_all_else=True)
        with refused("APPEND_OUTCOME_UNKNOWN") as caught:
            await store.append([NewFact("a")], key="k")
        assert caught.value.code == "UNKNOWN"
        # Now it is certain.
        with refused("STORE_UNAVAILABLE"):
            await store.append([NewFact("b")])
        proxy.reachable = True

        async def retried() -> bool | None:
            try:
                return (await store.append([NewFact("a")], key="k")).repeated
            except Failure as failure:
                if failure.reason != "STORE_UNAVAILABLE":
                    raise
                return None

        assert await eventually(retried, lambda repeated: repeated is not None) is committed
        assert await contents(store) == ["a"]
        assert [batch.shape for batch in await stream.batches(1)] == [(1, 1, [1])]


async def test_an_acknowledgement_whose_commit_is_cut_is_answered_and_the_cursor_has_moved(
    store: Remote, proxy: Proxy
) -> None:
    """Together with an append, so that its COMMIT is one that is cut."""
    async with store.stream_all_durable("s") as stream:
        await stream.started()
        for number, cut in enumerate([*Cut, *Cut]):
            await store.append_types("a")
            [batch] = await stream.batches(1)
            proxy.cut_next_commit(cut)
            appending = asyncio.create_task(store.append_types("b"))
            assert await store.acknowledge("s", batch.token) == batch.last == 2 * number + 1
            assert (await appending).last == batch.last + 1
            assert (await store.durable("s")).cursor == batch.last
            assert proxy.cuts == number + 1
            assert [batch.last for batch in await stream.batches(1)] == [2 * number + 2]


async def test_every_connection_may_be_lost_at_once_again_and_again(store: Remote, proxy: Proxy) -> None:
    async with store.stream_all() as stream:
        await stream.started()
        for number in range(1, 21):
            appending = asyncio.create_task(store.append_types(f"fact {number}"))
            querying = asyncio.create_task(store.query())
            if number % 2:
                await asyncio.sleep(0)
            proxy.cut_all()
            assert (await appending).last == number
            assert len((await querying).facts) in (number - 1, number)
            assert (await stream.next_of(Batch)).first == number
