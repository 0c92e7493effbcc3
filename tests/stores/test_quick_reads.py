"""What SQLite reads in the event loop is what a thread would read, and little."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from factstr_server.contract.limits import MAX_TERMS_PER_FACT
from factstr_server.stores.protocol import Window
from factstr_server.stores.sqlite import quick_reads
from factstr_server.stores.sqlite.database import open_reader
from factstr_server.stores.sqlite.quick_reads import FEW_FACTS, QuickReads
from factstr_server.stores.sqlite.reading import Reader
from tests.conformance.driver import EVERYTHING, Filter, NewFact, Query, of_type, where
from tests.stores.opened import commit, compiled, opened_sqlite
from tests.stores.test_lookup_cost import LOOKUPS, both, facts

COMMON = where('{"tenant": "t"}')
WINDOWS = {
    "everything": Window(),
    "version only": Window(max_facts=0),
    "the newest": Window(descending=True, max_facts=2),
    "after": Window(after=70, max_facts=3),
    "before": Window(before=400, descending=True),
    "between": Window(after=50, before=90),
    "nothing": Window(after=2_000),
    "a small page": Window(max_bytes=300),
}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine makes no difference here."""
    monkeypatch.setattr(quick_reads, "_SLOW_SECONDS", 60)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Path]:
    async with opened_sqlite(tmp_path / "facts.db") as store:
        await commit(store, *facts())
        yield tmp_path / "facts.db"


@pytest.fixture
def quick(database: Path) -> Iterator[QuickReads]:
    reads = QuickReads(database, lambda: True)
    yield reads
    reads.close()


@pytest.fixture
def reader(database: Path) -> Iterator[Reader]:
    connection = open_reader(database)
    yield Reader(connection)
    connection.close()


async def test_a_statement_is_planned_once_whatever_is_looked_up(database: Path) -> None:
    ran = planned_again = 0

    def note(event: dict[str, Any]) -> None:
        nonlocal ran, planned_again
        ran += 1
        planned_again += event["stmt_status"]["SQLITE_STMTSTATUS_REPREPARE"]

    connection = open_reader(database)
    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
    reader = Reader(connection)
    for number in range(10):
        query = compiled(where(f'{{"id": {number}}}'))
        [[[term]]] = [wanted.predicates or () for wanted in query.terms]
        assert reader.few_facts(f'"{term}"', FEW_FACTS + number, 1_000_000)
        assert reader.read_facts(query, Window(after=number, max_facts=1)).records
    connection.close()
    assert ran > 20
    assert planned_again == 0


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
async def test_a_quick_read_finds_what_a_thread_finds(
    quick: QuickReads, reader: Reader, window: Window
) -> None:
    found = 0
    for lookup in LOOKUPS.values():
        query = compiled(lookup.query)
        quickly = quick.read_context(query, window)
        if quickly:
            (newest, page), (expected_newest, expected) = quickly, reader.read_context(query, window)
            assert newest.last_sequence_number == expected_newest.last_sequence_number
            assert page[:2] == expected[:2]
            assert page.finished == expected.finished
            if not page.finished:
                assert page.looked_up_to == expected.looked_up_to
            found += 1
    assert found > len(LOOKUPS) / 2


@pytest.mark.parametrize(
    "query",
    [
        EVERYTHING,
        COMMON,
        of_type("common"),
        both("common", '{"kind": 1}'),
        where('{"kind": 1}', '{"id": 5}'),
        where(*(f'{{"id": {number}}}' for number in range(50))),
    ],
    ids=[
        "everything",
        "a common member",
        "a common type",
        "both",
        "one common alternative",
        "many alternatives",
    ],
)
def test_what_many_facts_may_match_is_left_to_a_thread(quick: QuickReads, query: Query) -> None:
    assert quick.read_context(compiled(query), Window()) is None


def test_a_rare_term_makes_up_for_common_ones(quick: QuickReads) -> None:
    query = compiled(
        Query((Filter(types=("common",), predicates=('{"tenant": "t", "kind": 7, "id": 77}',)),))
    )
    for _ in range(2):
        found = quick.read_context(query, Window())
        assert found
        assert found[0].last_sequence_number == 78


async def test_a_term_that_becomes_common_is_left_to_a_thread_from_then_on(tmp_path: Path) -> None:
    context = where('{"n": 1}')
    async with opened_sqlite(tmp_path / "facts.db") as store:
        for number in range(1, FEW_FACTS + 2):
            await commit(store, NewFact("a", '{"n": 1}'))
            read = await store.read_context(compiled(context), Window())
            assert read.context_version == number
            assert len(read.page.records) == number
        assert store._quick.read_context(compiled(context), Window()) is None


async def test_large_facts_are_left_to_a_thread(tmp_path: Path) -> None:
    context = where('{"n": 1}')
    large = NewFact("a", f'{{"n": 1, "text": "{"x" * 100_000}"}}')
    async with opened_sqlite(tmp_path / "facts.db") as store:
        await commit(store, large)
        assert store._quick.read_context(compiled(context), Window())
        await commit(store, large)
        assert store._quick.read_context(compiled(context), Window()) is None
        assert (await store.read_context(compiled(context), Window())).context_version == 2


async def test_terms_of_large_facts_are_passed_over_for_others(tmp_path: Path) -> None:
    async with opened_sqlite(tmp_path / "facts.db") as store:
        for number in range(3):
            await commit(store, NewFact("a", f'{{"tenant": "t", "n": {number}, "text": "{"x" * 60_000}"}}'))
        found = store._quick.read_context(compiled(where('{"tenant": "t", "n": 1}')), Window())
        assert found
        assert found[0].last_sequence_number == 2


async def test_facts_that_overflow_are_found_from_their_commit_on_and_after_a_restart(tmp_path: Path) -> None:
    context = compiled(where('{"n": 1}'))
    overflowing = NewFact("a", f'{{"n": 1, "many": {list(range(MAX_TERMS_PER_FACT))}}}')
    async with opened_sqlite(tmp_path / "facts.db") as store:
        await commit(store, NewFact("a", '{"n": 1}'))
        assert not store._overflows()
        await commit(store, overflowing)
        found = store._quick.read_context(context, Window())
        assert found
        assert found[0].last_sequence_number == 2
    async with opened_sqlite(tmp_path / "facts.db") as store:
        found = store._quick.read_context(context, Window())
        assert found
        assert len(found[1].records) == 2


def test_a_read_beside_the_commit_of_the_first_fact_that_overflows_is_left_to_a_thread(
    database: Path,
) -> None:
    answers = iter((False, True))
    quick = QuickReads(database, lambda: next(answers))
    assert quick.read_context(compiled(where('{"id": 77}')), Window()) is None
    quick.close()


async def test_facts_that_are_dear_to_compare_are_left_to_a_thread(tmp_path: Path) -> None:
    numbers = f'{{"n": {[[number] for number in range(30)] * 10}}}'
    async with opened_sqlite(tmp_path / "facts.db") as store:
        await commit(store, NewFact("a", numbers))
        assert store._quick.read_context(compiled(where('{"n": [[1]]}')), Window())
        assert store._quick.read_context(compiled(where(numbers)), Window()) is None
        assert (await store.read_context(compiled(where(numbers)), Window())).context_version == 1


def test_after_a_slow_read_threads_read_for_a_while(
    quick: QuickReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = compiled(where('{"id": 77}'))
    assert quick.read_context(query, Window())
    monkeypatch.setattr(quick_reads, "_PAUSE_SECONDS", 3_600)
    monkeypatch.setattr(quick_reads, "_SLOW_SECONDS", -1)
    assert quick.read_context(query, Window())
    assert quick.read_context(query, Window()) is None


def test_a_file_that_cannot_be_opened_is_left_to_a_thread_to_complain_of(tmp_path: Path) -> None:
    assert QuickReads(tmp_path / "none.db", lambda: True).read_context(compiled(where("1")), Window()) is None
