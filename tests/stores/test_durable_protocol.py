"""What the protocol of stores says of durable streams beyond the contract: leases by epoch, and cursors in commits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factstr_server.contract.errors import Reason, Refusal
from factstr_server.stores.protocol import Advance, Advanced, Committed, LeaseOver, Store
from factstr_server.stores.stream_protocol import (
    Acquired,
    Acquisition,
    LeaseHeld,
    PositionAhead,
    StoredStream,
    StreamNotFound,
)
from tests.conformance.driver import NewFact
from tests.conformance.matrix import STORES, StoreKind
from tests.stores.opened import commit, opened, prepared


@pytest.fixture(params=STORES, ids=lambda kind: kind.name)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    kind: StoreKind = request.param
    async with opened(kind.url(tmp_path)) as it:
        for _ in range(5):
            await commit(it, NewFact("a"))
        yield it


async def acquired(store: Store, name: str = "s", holder: str = "h") -> Acquired:
    outcome = await store.acquire(Acquisition(name, "[]", "[]", holder))
    assert isinstance(outcome, Acquired)
    return outcome


async def cursor(store: Store, name: str = "s") -> int:
    known = await store.get(name)
    assert known is not None
    return known.cursor


async def test_a_lease_is_given_back_by_its_own_epoch_alone(store: Store) -> None:
    old = await acquired(store)
    moved = await store.reset("s", 0, force=True)
    assert isinstance(moved, StoredStream)
    new = await acquired(store)
    await store.release("s", old.lease_epoch)
    assert await store.acquire(Acquisition("s", "[]", "[]", "other")) == LeaseHeld(new.lease_epoch, "h")
    await store.release("none", 1)
    await store.release("s", new.lease_epoch)
    await store.release("s", new.lease_epoch)
    assert (await acquired(store)).lease_epoch > moved.lease_epoch


async def test_cursors_move_forwards_under_the_current_epoch_in_the_commit_beside_appends(
    store: Store,
) -> None:
    epoch = (await acquired(store)).lease_epoch
    other = (await acquired(store, "t")).lease_epoch
    outcomes = await store.commit(
        [
            Advance("s", epoch, 3, acknowledged=True),
            Advance("s", epoch, 2, acknowledged=True),
            Advance("s", other, 5, acknowledged=True),
            Advance("t", other, 7, acknowledged=True),
            prepared([NewFact("b"), NewFact("b")]),
            Advance("t", other, 7, acknowledged=False),
            Advance("t", other, 8, acknowledged=False),
            Advance("none", epoch, 1, acknowledged=True),
        ]
    )
    assert isinstance(outcomes[4], Committed)
    assert [*outcomes[:4], *outcomes[5:]] == [
        Advanced(3),
        Advanced(3),
        LeaseOver("s", other),
        PositionAhead(7, 5),
        Advanced(7),
        PositionAhead(8, 7),
        StreamNotFound("none"),
    ]
    assert [await cursor(store), await cursor(store, "t")] == [3, 7]


async def test_a_cursor_that_is_passed_over_facts_was_not_acknowledged(store: Store) -> None:
    epoch = (await acquired(store)).lease_epoch
    await store.commit([Advance("s", epoch, 2, acknowledged=False)])
    known = await store.get("s")
    assert known
    assert (known.cursor, known.acknowledged_at) == (2, None)
    await store.commit(
        [Advance("s", epoch, 3, acknowledged=True), Advance("s", epoch, 4, acknowledged=False)]
    )
    known = await store.get("s")
    assert known
    assert known.cursor == 4
    assert known.acknowledged_at is not None
    await store.commit([Advance("s", epoch, 4, acknowledged=True)])
    again = await store.get("s")
    assert again == known


async def test_the_head_is_a_start_and_a_position_beyond_it_is_not(store: Store) -> None:
    start = Acquisition("head", "[]", "[]", "h", start_after=None)
    assert isinstance(outcome := await store.acquire(start), Acquired)
    assert outcome.cursor == 5
    for position in (6, 2**63 - 1, 2**64 - 1):
        beyond = Acquisition("beyond", "[]", "[]", "h", start_after=position)
        assert await store.acquire(beyond) == PositionAhead(position, 5)
        assert await store.reset("head", position, force=True) == PositionAhead(position, 5)
    assert await store.get("beyond") is None


async def test_a_failed_commit_moves_no_cursor(tmp_path: Path) -> None:
    """One group is one transaction: an append that finds no room takes the cursors of its group back with it."""
    async with opened(f"sqlite:///{tmp_path}/facts.db") as store:
        await commit(store, NewFact("a"))
        epoch = (await acquired(store)).lease_epoch

        def limit() -> None:
            connection = store._writer.connection  # type: ignore[attr-defined]
            connection.pragma("max_page_count", connection.pragma("page_count") + 5)

        await store._run(store._writing, limit)  # type: ignore[attr-defined]
        large = prepared([NewFact("large", '"' + "x" * 1_000_000 + '"')])
        with pytest.raises(Refusal) as caught:
            await store.commit([Advance("s", epoch, 1, acknowledged=True), large])
        assert caught.value.reason is Reason.STORE_FULL
        assert await cursor(store) == 0
        assert await store.commit([Advance("s", epoch, 1, acknowledged=True)]) == [Advanced(1)]
