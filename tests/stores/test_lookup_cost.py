"""The index's promise: a lookup looks at no more facts than hold its rarest term, and never walks the log.

Counted where every store decides whether a candidate matches.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from factstr_server.contract.query import CompiledQuery
from factstr_server.stores import paging
from factstr_server.stores.protocol import Store, Window
from factstr_server.stores.sqlite import quick_reads
from tests.conformance.driver import Filter, NewFact, Query, of_type, where
from tests.conformance.matrix import STORES, StoreKind
from tests.stores.opened import commit, compiled, conflict, opened, prepared

FACTS = 1_200
OVERFLOWED = 2


class Counter:
    """How many candidates were looked at since the last reset."""

    looked_at = 0

    def during(self) -> int:
        counted, self.looked_at = self.looked_at, 0
        return counted


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counted = Counter()
    decide = CompiledQuery.matches

    def counting(query: CompiledQuery, event_type: str, payload: Callable[[], bytes]) -> bool:
        counted.looked_at += 1
        return decide(query, event_type, payload)

    monkeypatch.setattr(CompiledQuery, "matches", counting)
    return counted


def facts() -> Iterator[NewFact]:
    """Each has a tenant (all the same), a kind (one of ten), an id (its own); a few are special."""
    for i in range(FACTS):
        extra = ""
        if i % 300 == 7:
            extra = f', "rows": [{{"sku": {i}, "ok": true}}, {{"sku": "common"}}], "deep": {{"er": {{}}}}'
        yield NewFact(
            "rare" if i % 200 == 3 else "common",
            f'{{"tenant": "t", "kind": {i % 10}, "id": {i}, "price": {i}.50, "tags": ["all", "tag{i % 40}"]{extra}}}',
        )
    for _ in range(OVERFLOWED):
        yield NewFact("rich", "{" + ",".join(f'"k{i}": {i}' for i in range(2_100)) + "}")


@pytest.fixture(params=STORES, ids=lambda kind: kind.name)
async def stocked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    kind: StoreKind = request.param
    async with opened(kind.url(tmp_path)) as store:
        every = list(facts())
        for start in range(0, len(every), 400):
            await commit(store, *every[start : start + 400])
        yield store


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts what is looked at, not how long: on a slow machine a read would answer before its page is full. And in
    the index, not in the few facts that SQLite looks at in the event loop (`test_quick_reads`).
    """
    monkeypatch.setattr(paging, "MAX_READ_SECONDS", 60)
    monkeypatch.setattr(quick_reads, "FEW_FACTS", 1)


class Lookup(NamedTuple):
    query: Query
    rarest: int
    """How many facts hold the rarest term of each alternative, together."""


def both(event_type: str, predicate: str) -> Query:
    return Query((Filter(types=(event_type,), predicates=(predicate,)),))


LOOKUPS = {
    "a type": Lookup(of_type("rare"), 6),
    "several types": Lookup(of_type("rare", "rich", "none"), 6 + OVERFLOWED),
    "one rare key": Lookup(where('{"id": 77}'), 1 + OVERFLOWED),
    "a number written otherwise": Lookup(where('{"price": 77.5e0}'), 1 + OVERFLOWED),
    "rare and common keys": Lookup(where('{"tenant": "t", "kind": 7, "id": 77}'), 1 + OVERFLOWED),
    "common keys": Lookup(where('{"tenant": "t", "kind": 7}'), 120 + OVERFLOWED),
    "a rare key that no fact has with the others": Lookup(where('{"kind": 1, "id": 77}'), 1 + OVERFLOWED),
    "what no fact holds, beside what all hold": Lookup(where('{"tenant": "t", "id": -1}'), OVERFLOWED),
    "a rare type and a common predicate": Lookup(both("rare", '{"tenant": "t"}'), 6),
    "a common type and a rare predicate": Lookup(both("common", '{"id": 78}'), 1 + OVERFLOWED),
    "a type that no fact has": Lookup(both("none", '{"tenant": "t"}'), 0),
    "a rare element": Lookup(where('{"tags": ["all", "tag9"]}'), 30 + OVERFLOWED),
    "a rare object among elements": Lookup(where('{"rows": [{"sku": 307, "ok": true}]}'), 1 + OVERFLOWED),
    "a rare container": Lookup(where('{"deep": {}}'), 4 + OVERFLOWED),
    "a rare container inside": Lookup(where('{"deep": {"er": {}}}'), 4 + OVERFLOWED),
    "a container of a kind that no fact has": Lookup(where('{"deep": []}'), OVERFLOWED),
    "several alternatives": Lookup(where('{"id": 1}', '{"id": 2}', '{"rows": []}'), 6 + OVERFLOWED),
    "several filters": Lookup(Query((*of_type("rare").filters, *where('{"id": 1}').filters)), 7 + OVERFLOWED),
    "a leaf of an overflowed fact": Lookup(where('{"k2000": 2000}'), OVERFLOWED),
    "an empty list": Lookup(where(), 0),
}


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS.keys())
async def test_a_lookup_looks_at_no_more_facts_than_hold_its_rarest_term(
    stocked: Store, counter: Counter, lookup: Lookup
) -> None:
    query = compiled(lookup.query)
    for descending in (False, True):
        page = await stocked.read_facts(query, Window(descending=descending))
        assert len(page.records) <= counter.during() <= lookup.rarest
        assert page.finished
    version = (await stocked.read_context(query, Window(max_facts=0))).context_version
    assert counter.during() <= lookup.rarest
    assert (await conflict(stocked, lookup.query, FACTS * 2)).actual == version
    assert counter.during() <= lookup.rarest


async def test_a_condition_that_holds_looks_at_what_is_newer_and_at_the_expected_fact(
    stocked: Store, counter: Counter
) -> None:
    """However large its context."""
    context = where('{"tenant": "t"}')
    version = (await stocked.read_context(compiled(context), Window(max_facts=0))).context_version
    counter.during()
    await stocked.commit([prepared([NewFact()], context=context, expected=version)])
    assert counter.during() <= 1 + OVERFLOWED


async def test_the_whole_log_and_nothing_are_known_without_a_look(stocked: Store, counter: Counter) -> None:
    for query in (Query(), Query((Filter(),)), of_type(), where()):
        await stocked.read_context(compiled(query), Window(max_facts=0))
        await conflict(stocked, query, FACTS * 2)
    assert counter.during() <= 8, "at most the newest fact each"


@pytest.mark.parametrize("alternatives", [10, 660, 1_000])
async def test_each_of_many_alternatives_is_looked_up_by_its_rarest_term(
    stocked: Store, counter: Counter, alternatives: int
) -> None:
    """Ids that no fact has, each asked for with what all facts have."""
    query = where(*(f'{{"tenant": "t", "tags": ["all"], "id": {-1 - i}}}' for i in range(alternatives)))
    page = await stocked.read_facts(compiled(query), Window())
    assert page.records == []
    assert counter.during() <= OVERFLOWED


@pytest.mark.parametrize("kind", range(5))
async def test_the_rarest_term_leads_also_where_it_is_not_rare(
    stocked: Store, counter: Counter, kind: int
) -> None:
    """A tenth of the facts, asked for in many alternatives with what all facts have."""
    predicate = f'{{"tenant": "t", "kind": {kind}, "tags": ["all"]}}'
    found = (await stocked.read_facts(compiled(where(predicate)), Window())).records
    assert len(found) == FACTS // 10
    counter.during()
    again = await stocked.read_facts(compiled(where(*[predicate] * 700)), Window())
    assert again.records == found
    assert counter.during() <= len(found) + OVERFLOWED


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.name)
async def test_each_of_several_large_predicates_is_looked_up_by_its_rarest_term(
    kind: StoreKind, tmp_path: Path, counter: Counter
) -> None:
    """Ids that no fact has, each asked for with 900 leaves that all facts have."""
    leaves = ", ".join(f'"k{i}": {i}' for i in range(900))
    async with opened(kind.url(tmp_path)) as store:
        await commit(store, *(NewFact(payload=f'{{"id": {i}, {leaves}}}') for i in range(60)))
        query = where(*(f'{{"id": {-1 - i}, {leaves}}}' for i in range(10)))
        assert (await store.read_facts(compiled(query), Window())).records == []
        assert counter.during() == 0


async def test_the_largest_queries_are_answered(stocked: Store) -> None:
    """1,000 alternatives of many leaves each, and 1,000 nodes."""
    wide = "{" + ", ".join(f'"k{i}": {i}' for i in range(20)) + "}"
    for query in (
        where(*(f'{{"id": {i}, "more": {wide}}}' for i in range(999)), '{"id": 5}'),
        where("[" + ",".join(f'{{"x": {i}}}' for i in range(499)) + "]", '{"id": 5}'),
        Query(
            (*(Filter(types=(f"t{i}",), predicates=("{}",)) for i in range(499)), *where('{"id": 5}').filters)
        ),
    ):
        assert len((await stocked.read_facts(compiled(query), Window())).records) == 1
