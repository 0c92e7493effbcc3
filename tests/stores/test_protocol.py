"""What the protocol of stores says beyond the contract: opening, closing, groups, pages and how far they looked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factstr.v1 import event_pb2
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.paging import MAX_CANDIDATES_PER_READ
from factstr_server.stores.protocol import (
    Committed,
    Conflict,
    KeyReused,
    Page,
    Repeated,
    Store,
    StoreOptions,
    Window,
)
from tests.conformance.driver import EVERYTHING, Filter, NewFact, Query, of_type, where
from tests.conformance.matrix import STORES, StoreKind
from tests.stores.opened import commit, compiled, opened, prepared


@pytest.fixture(params=STORES, ids=lambda kind: kind.name)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind: StoreKind = request.param
    return kind.url(tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with opened(url) as it:
        yield it


def numbers(page: Page) -> list[int]:
    return [event_pb2.EventRecord.FromString(record).sequence_number for record in page.records]


async def test_closing_twice_does_nothing_more(url: str) -> None:
    store = store_by_url(url, StoreOptions())
    await store.open()
    await commit(store, NewFact())
    await store.close()
    await store.close()


async def test_a_store_that_was_never_opened_can_be_closed(url: str) -> None:
    await store_by_url(url, StoreOptions()).close()


async def test_outcomes_come_in_the_order_of_the_group_and_each_append_sees_those_before_it(
    store: Store,
) -> None:
    a, b = of_type("a"), of_type("b")
    facts_a, facts_b = [NewFact("a")], [NewFact("b"), NewFact("b")]
    outcomes = await store.commit(
        [
            prepared(facts_a, key="k"),
            prepared(facts_a, context=a),
            prepared(facts_b, context=b),
            prepared(facts_a, key="k"),
            prepared(facts_b, key="k"),
            prepared(facts_b, context=b, expected=3),
            prepared(facts_a, context=a, expected=2),
            prepared(facts_a, context=EVERYTHING, expected=5),
            prepared(facts_a, context=of_type("c"), expected=9),
        ]
    )
    moment = outcomes[0].occurred_at if isinstance(outcomes[0], Committed) else 0
    assert outcomes == [
        Committed(1, 1, moment),
        Conflict(None, 1),
        Committed(2, 3, moment),
        Repeated(Committed(1, 1, moment)),
        KeyReused("k"),
        Committed(4, 5, moment),
        Conflict(2, 1),
        Committed(6, 6, moment),
        Conflict(9, None),
    ]
    assert await store.head() == 6
    assert (await store.read_context(compiled(b), Window())).context_version == 5


async def test_a_condition_counts_rich_facts_of_its_own_group(store: Store) -> None:
    rich = NewFact("rich", "{" + ",".join(f'"k{i}":{i}' for i in range(2_500)) + "}")
    outcomes = await store.commit(
        [
            prepared([rich]),
            prepared([NewFact()], context=where('{"k2400":2400}')),
            prepared([NewFact()], context=where('{"k2400":2401}')),
            prepared([NewFact()], context=where('{"k1":1}'), expected=1),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [Committed, Conflict, Committed, Committed]


async def test_a_group_of_nothing_but_refused_appends_commits_nothing(store: Store) -> None:
    await commit(store, NewFact("a"))
    outcomes = await store.commit(
        [prepared([NewFact("a")], context=of_type("a"), expected=n) for n in (0, 2, 3)]
    )
    assert outcomes == [Conflict(0, 1), Conflict(2, 1), Conflict(3, 1)]
    assert await store.head() == 1


def narrowed(window: Window, page: Page) -> Window:
    """What is left to look at after a page."""
    if window.descending:
        return window._replace(before=page.looked_up_to)
    return window._replace(after=page.looked_up_to)


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_of_rare_matches_say_how_far_they_looked_and_join_without_gap(
    store: Store, descending: bool
) -> None:
    """Matches among many candidates that no index tells apart."""
    near, match = '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}', '{"rows":[{"x":1,"y":1}]}'
    wanted = [1, 2_000, 5_000, 9_900]
    count = 2 * MAX_CANDIDATES_PER_READ + 1_800
    await commit(store, *(NewFact(payload=match if n in wanted else near) for n in range(1, count + 1)))
    window = Window(descending=descending)
    found: list[int] = []
    while not (page := await store.read_facts(compiled(where(match)), window)).finished:
        found += numbers(page)
        left = narrowed(window, page)
        assert left != window, "a page that does not end the window gets on"
        window = left
    assert sorted(found + numbers(page)) == wanted


async def test_a_page_ends_with_its_window_its_facts_or_its_bytes(store: Store) -> None:
    await commit(store, *[NewFact(payload='"' + "x" * 1_000 + '"')] * 20)
    everything = compiled(EVERYTHING)
    assert numbers(await store.read_facts(everything, Window(after=3, before=7))) == [4, 5, 6]
    assert numbers(await store.read_facts(everything, Window(after=3, before=7, descending=True))) == [
        6,
        5,
        4,
    ]
    page = await store.read_facts(everything, Window(after=3, max_facts=2))
    assert (numbers(page), page.last_sequence_number, page.finished) == ([4, 5], 5, True)
    page = await store.read_facts(everything, Window(max_bytes=3_500))
    assert (numbers(page), page.looked_up_to, page.finished) == ([1, 2, 3], 3, False)
    page = await store.read_facts(everything, Window(max_bytes=1))
    assert (numbers(page), page.looked_up_to, page.finished) == ([1], 1, False)


async def test_windows_that_hold_no_fact_are_finished_and_empty(store: Store) -> None:
    await commit(store, *[NewFact()] * 3)
    for window in (Window(after=3), Window(before=1), Window(after=2, before=2), Window(after=2**63 - 1)):
        for descending in (False, True):
            for query in (EVERYTHING, where("{}"), of_type(), Query((Filter(),))):
                page = await store.read_facts(compiled(query), window._replace(descending=descending))
                assert (page.records, page.finished) == ([], True)
