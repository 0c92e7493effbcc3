"""Reads of whole batches: every store gives the same for every query and window, page by page, as a plain list says."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import accumulate
from pathlib import Path
from typing import Final

import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores import batching
from factstr_server.stores.paging import MAX_CANDIDATES_PER_READ
from factstr_server.stores.protocol import BatchPage, BatchWindow, Store
from tests.conformance.driver import EVERYTHING, Filter, NewFact, Query, of_type, where
from tests.conformance.matrix import STORES, StoreKind
from tests.stores.list_log import selects
from tests.stores.opened import commit, compiled, opened

Shape = tuple[int, int, tuple[int, ...]]

QUERIES: Final = (
    EVERYTHING,
    of_type("a"),
    of_type("a", "b"),
    of_type("none"),
    of_type(),
    where('{"n":1}'),
    where('{"n":1}', '{"n":2}'),
    where('{"rows":[{"x":1,"y":1}]}'),
    Query((Filter(("a",), ('{"n":1}',)), Filter(("b",)))),
    Query((Filter(),)),
)
PAYLOADS: Final = (
    *('{"n":0}', '{"n":1}', '{"n":2}'),
    *('{"rows":[{"x":1,"y":1}]}', '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}'),
    '{"n":1,"large":"' + "x" * 3_000 + '"}',
    '{"n":1,' + ",".join(f'"k{i}":{i}' for i in range(2_010)) + "}",
)


@pytest.fixture(params=STORES, ids=lambda kind: kind.name)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    kind: StoreKind = request.param
    async with opened(kind.url(tmp_path)) as it:
        yield it


def shapes(page: BatchPage) -> list[Shape]:
    batches = pb.CommittedBatches.FromString(b"".join(page.frames)).batches
    return [
        (
            batch.first_sequence_number,
            batch.last_sequence_number,
            tuple(record.sequence_number for record in batch.event_records),
        )
        for batch in batches
    ]


async def pages(store: Store, query: CompiledQuery, window: BatchWindow) -> list[BatchPage]:
    """All pages of a window. Each gets on, and keeps to its bounds."""
    found = []
    while window.after < window.up_to:
        page = await store.read_batches(query, window)
        assert window.after < page.looked_up_to <= window.up_to, "a page gets on"
        assert len(page.frames) == len(page.ranges)
        assert sum(map(len, page.frames)) <= window.max_bytes or len(shapes(page)) == 1
        assert window.max_batches is None or len(shapes(page)) <= window.max_batches
        if not window.joined:
            assert [shape[:2] for shape in shapes(page)] == page.ranges
        elif page.ranges:
            assert (page.ranges[0][0], page.ranges[-1][1]) == (shapes(page)[0][0], shapes(page)[-1][1])
        assert not page.ranges or page.ranges[-1][1] <= page.looked_up_to
        found.append(page)
        window = window._replace(after=page.looked_up_to)
    return found


def expected(log: list[list[NewFact]], query: Query, window: BatchWindow) -> list[Shape]:
    found: list[Shape] = []
    first = 1
    for batch in log:
        last = first + len(batch) - 1
        part = tuple(
            number
            for number, fact in enumerate(batch, first)
            if window.after < number <= window.up_to and selects(query, fact)
        )
        if part:
            found.append((first, last, part))
        first = last + 1
    return found


async def test_every_store_reads_the_same_batches_as_a_plain_list(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(15):
        folder = tmp_path / str(number)
        folder.mkdir()
        log = [
            [
                NewFact(chance.choice("abc"), chance.choice(PAYLOADS))
                for _ in range(chance.choice((1, 1, 2, 6)))
            ]
            for _ in range(chance.randint(1, 30))
        ]
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(opened(kind.url(folder))) for kind in STORES]
            for each in stores:
                for batch in log:
                    await commit(each, *batch)
            await compare(stores, log, chance)


async def compare(stores: list[Store], log: list[list[NewFact]], chance: random.Random) -> None:
    """Some windows of a log, with every query."""
    ends = list(accumulate(map(len, log)))
    for query in QUERIES * 3:
        max_batches = chance.choice((None, None, 1, 2, 5))
        window = BatchWindow(
            chance.randrange(ends[-1]),
            chance.choice(ends),
            max_batches,
            chance.choice((1, 100, 1_000, 10_000, 262_144)),
            joined=max_batches is None and chance.choice((False, True)),  # as readers of a window ask
        )
        for each in stores:
            read = [shape for page in await pages(each, compiled(query), window) for shape in shapes(page)]
            assert read == expected(log, query, window), (type(each), query, window)


async def test_a_batch_larger_than_a_page_goes_alone_and_whole(store: Store) -> None:
    await commit(store, NewFact("a"))
    await commit(store, *[NewFact("a", '"' + "x" * 1_000 + '"')] * 2_900)
    await commit(store, NewFact("a"))
    for query in (EVERYTHING, of_type("a")):
        for joined in (False, True):
            read = [
                shapes(page)
                for page in await pages(store, compiled(query), BatchWindow(0, 2_902, joined=joined))
            ]
            assert read == [[(1, 1, (1,))], [(2, 2_901, tuple(range(2, 2_902)))], [(2_902, 2_902, (2_902,))]]
            [page, *_] = await pages(store, compiled(query), BatchWindow(1_500, 2_902, joined=joined))
            assert shapes(page) == [(2, 2_901, tuple(range(1_501, 2_902)))]


async def test_a_page_of_rare_matches_says_how_far_it_looked_and_ends_before_a_batch(store: Store) -> None:
    """Candidates that no index tells apart, in batches that lie across every bound of a read."""
    near, match = '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}', '{"rows":[{"x":1,"y":1}]}'
    count = 2 * MAX_CANDIDATES_PER_READ + 1_000
    wanted = {1, MAX_CANDIDATES_PER_READ, MAX_CANDIDATES_PER_READ + 1, count}
    payloads = [match if number in wanted else near for number in range(1, count + 1)]
    log: list[list[NewFact]] = []
    chance = random.Random(7)
    while payloads:
        size = chance.choice((1, 2, 7, 500))
        log.append([NewFact("a", payload) for payload in payloads[:size]])
        del payloads[:size]
        await commit(store, *log[-1])
    ends = {0}
    for batch in log:
        ends.add(max(ends) + len(batch))
    read = await pages(store, compiled(where(match)), BatchWindow(0, count))
    assert len(read) > 2
    assert {page.looked_up_to for page in read} <= ends
    assert [shape for page in read for shape in shapes(page)] == expected(
        log, where(match), BatchWindow(0, count)
    )


async def test_a_read_gets_on_however_long_its_first_candidate_took(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_READ_SECONDS", -1)
    for _ in range(3):
        await commit(store, NewFact("a"), NewFact("b"))
    read = await pages(store, compiled(of_type("a")), BatchWindow(0, 6))
    assert [shape[:2] for page in read for shape in shapes(page)] == [(1, 2), (3, 4), (5, 6)]


async def test_a_window_that_holds_nothing_that_matches_is_read_to_its_end(store: Store) -> None:
    for _ in range(5):
        await commit(store, NewFact("a"), NewFact("b"))
    for query in (of_type("none"), of_type(), where('{"n":7}')):
        assert await pages(store, compiled(query), BatchWindow(3, 8)) == [BatchPage([], [], 8)]
