"""A context whose version takes long to find: who else commits does not wait for the search, and it is decided exactly.

The index proposes facts that hold all terms of a predicate; where they hold them in different places, only the exact
matcher tells them apart, one by one.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factstr_server.contract.append import LookedUp, PreparedAppend
from factstr_server.log.event_log import EventLog
from factstr_server.stores import deciding, paging
from factstr_server.stores.fact_index import FactIndex
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.postgres import conditions
from factstr_server.stores.protocol import Committed, Conflict, Outcome, Store, StoreOptions, Undecided
from tests.conformance.driver import Filter, NewFact, Query
from tests.postgres.fresh import fresh_url
from tests.stores.opened import commit, compiled, opened, prepared, url_of

NEAR = NewFact("a", '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}')
EXACT = NewFact("a", '{"rows":[{"x":1,"y":1}]}')
CONTEXT = Query((Filter(predicates=(EXACT.payload,)),))
NEVER = Query((Filter(predicates=('{"rows":[{"x":2,"y":2}]}', '{"rows":[{"x":1,"y":1,"z":1}]}')),))
NEARLY = 100


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh store, which looks at few candidates while others wait."""
    monkeypatch.setattr(paging, "MAX_CANDIDATES_PER_READ", 8)
    monkeypatch.setattr(conditions, "_MOST_CANDIDATES", 8)
    monkeypatch.setattr(deciding, "MAX_SEARCH_STEPS", 8 * compiled(CONTEXT).steps(len(NEAR.payload)))
    monkeypatch.setattr(deciding, "_FREE_STEPS", 3 * compiled(CONTEXT).steps(len(NEAR.payload)))
    return url_of(tmp_path / "facts.db") if request.param == "sqlite" else fresh_url(tmp_path)


@pytest.fixture(params=[True, False], ids=["just committed", "in the file alone"])
async def store(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """One fact of the context, and many that nearly are."""
    async with opened(url) as store:
        await commit(store, EXACT, *[NEAR] * NEARLY)
        if request.param:
            yield store
    if not request.param:
        async with opened(url) as store:
            yield store


def conditional(
    context: Query, expected: int | None, looked_up: LookedUp | None = None, fact: NewFact | None = None
) -> PreparedAppend:
    append = prepared([fact or NewFact("decided")], context=context, expected=expected)
    assert append.condition
    return PreparedAppend(append.events, append.size, append.condition._replace(looked_up=looked_up))


async def outcome(store: Store, append: PreparedAppend) -> Outcome:
    [outcome] = await store.commit([append])
    return outcome


async def test_a_group_does_not_wait_for_a_long_search(store: Store) -> None:
    before = await store.head()
    slow, quick = await store.commit([conditional(CONTEXT, 1), prepared([NewFact("quick")])])
    assert slow == Undecided()
    assert isinstance(quick, Committed)
    assert quick.first_sequence_number == before + 1 == await store.head()


async def test_long_searches_of_a_group_share_what_it_may_spend_and_leave_short_ones_alone(
    store: Store,
) -> None:
    newest = (await commit(store, EXACT, NEAR)).first_sequence_number
    outcomes = await store.commit(
        [*[conditional(NEVER, 1)] * 20, conditional(CONTEXT, newest), conditional(CONTEXT, 1)]
    )
    assert outcomes[:20] == [Undecided()] * 20
    assert isinstance(outcomes[20], Committed)
    assert outcomes[21] == Conflict(1, newest)


async def test_an_expected_fact_that_is_dear_to_compare_is_looked_up_first(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url) as store:
        await commit(store, EXACT)
        monkeypatch.setattr(deciding, "MAX_SEARCH_STEPS", 0)
        monkeypatch.setattr(deciding, "_FREE_STEPS", 0)
        if store.info.kind == "sqlite":
            assert await outcome(store, conditional(CONTEXT, 1)) == Undecided()
        looked_up = LookedUp(1, 1, store.info.history_id)
        assert isinstance(await outcome(store, conditional(CONTEXT, 1, looked_up)), Committed)


def test_a_fact_that_many_alternatives_propose_is_compared_once() -> None:
    facts = FactIndex()
    facts.add_all(prepared([NEAR] * NEARLY).events)
    alternatives = tuple(f'{{"rows":[{{"x":1,"y":1}},{{"y":{n % 2 + 1},"x":1}}]}}' for n in range(10))
    compared: list[int] = []
    assert facts.version(compiled(Query((Filter(predicates=alternatives),))), 0, compared.append) is None
    assert len(compared) == NEARLY


async def test_a_version_that_is_near_the_end_needs_no_search(store: Store) -> None:
    newest = (await commit(store, EXACT)).last_sequence_number
    await commit(store, NEAR)
    assert await outcome(store, conditional(CONTEXT, 1)) == Conflict(1, newest)
    assert isinstance(await outcome(store, conditional(CONTEXT, newest)), Committed)


@pytest.mark.parametrize(("context", "version"), [(CONTEXT, 1), (NEVER, None)], ids=["one fact", "no fact"])
@pytest.mark.parametrize("expected", [None, 0, 1, 2, 50, 10_000])
async def test_what_was_looked_up_decides(
    store: Store, context: Query, version: int | None, expected: int | None
) -> None:
    looked_up = LookedUp(version, await store.head(), store.info.history_id)
    decided = await outcome(store, conditional(context, expected, looked_up))
    if (expected or None) == version:
        assert isinstance(decided, Committed)
    else:
        assert decided == Conflict(expected, version)


@pytest.mark.parametrize("of_the_group", [False, True], ids=["committed before", "in the same group"])
async def test_what_is_committed_after_the_look_counts(store: Store, of_the_group: bool) -> None:
    looked_up = LookedUp(1, await store.head(), store.info.history_id)
    late = await store.head() + NEARLY + 1
    appends = [
        prepared([NEAR] * NEARLY + [EXACT]),
        conditional(CONTEXT, 1, looked_up),
        conditional(CONTEXT, late, looked_up, EXACT),
        conditional(CONTEXT, late, looked_up),
        conditional(CONTEXT, late + 1, looked_up),
    ]
    outcomes = (
        await store.commit(appends) if of_the_group else [await outcome(store, append) for append in appends]
    )
    assert outcomes[1] == Conflict(1, late)
    assert isinstance(outcomes[2], Committed)
    assert outcomes[3] == Conflict(late, late + 1)
    assert isinstance(outcomes[4], Committed)


async def test_what_was_looked_up_in_another_history_says_nothing(tmp_path: Path) -> None:
    async with opened(fresh_url(tmp_path)) as store:
        await commit(store, NewFact())
        looked_up = LookedUp(None, await store.head(), "another")
        assert await outcome(store, conditional(CONTEXT, None, looked_up)) == Undecided()


async def test_an_append_that_waits_for_a_long_search_is_decided_after_those_that_came_later(
    url: str,
) -> None:
    async with opened(url) as store:
        head = (await commit(store, EXACT, *[NEAR] * NEARLY)).last_sequence_number
    log = EventLog(store_by_url(url, StoreOptions()))
    await log.open()
    try:
        slow, *quick = await asyncio.gather(
            log.append(prepared([NewFact("slow")], context=CONTEXT, expected=1, key="k")),
            *(log.append(prepared([NewFact("quick")])) for _ in range(5)),
        )
        assert sorted(each.first_sequence_number for each in quick) == list(range(head + 1, head + 6))
        assert slow.first_sequence_number == head + 6
        again = await log.append(prepared([NewFact("slow")], context=CONTEXT, expected=1, key="k"))
        assert again.repeated
        assert again.first_sequence_number == slow.first_sequence_number
    finally:
        await log.close()
