"""Records of the first format, which has no framing beside them, are delivered as those of today's are."""

from pathlib import Path

import apsw
import pytest

from factstr_server.contract.query import EVERYTHING
from factstr_server.stores.protocol import BatchWindow
from tests.conformance.driver import NewFact
from tests.stores.opened import commit, opened_sqlite
from tests.stores.test_read_batches import Shape, shapes

SMALL, LARGE = 100, 100_000


@pytest.mark.parametrize(
    "sizes",
    [[SMALL] * 300, [LARGE] * 200, [SMALL] * 3_000 + [LARGE] * 200, [LARGE] * 30 + [SMALL] * 300],
    ids=["small", "large", "large ones after small ones", "small ones after large ones"],
)
@pytest.mark.parametrize("earlier", ["all", "first half", "second half"])
@pytest.mark.parametrize("joined", [False, True])
async def test_every_batch_is_delivered_whichever_records_have_no_framing(
    tmp_path: Path, sizes: list[int], earlier: str, *, joined: bool
) -> None:
    database = tmp_path / "facts.db"
    committed: list[Shape] = []
    async with opened_sqlite(database) as store:
        for index in range(0, len(sizes), 10):
            # Batches of four and of one.
            for part in (sizes[index : index + 4], *([size] for size in sizes[index + 4 : index + 10])):
                first, last, _ = await commit(store, *(NewFact(payload=f'"{"x" * size}"') for size in part))
                committed.append((first, last, tuple(range(first, last + 1))))
    first, last = {
        "all": (1, len(sizes)),
        "first half": (1, len(sizes) // 20 * 10),
        "second half": (len(sizes) // 20 * 10 + 1, len(sizes)),
    }[earlier]
    without_framing(database, first, last)
    async with opened_sqlite(database) as store:
        window = BatchWindow(0, len(sizes), joined=joined, pages_ahead=3)
        delivered: list[Shape] = []
        while window.after < window.up_to:
            page = await store.read_batches(EVERYTHING, window)
            for each in (page, *page.following):
                delivered += shapes(each)
                window = window._replace(after=each.looked_up_to)
    assert delivered == committed


def without_framing(database: Path, first: int, last: int) -> None:
    """Makes records of whole batches what the first format had."""
    connection = apsw.Connection(str(database))
    connection.execute(
        "UPDATE records SET record = substr(record, opening_bytes + 1), opening_bytes = 0 "
        "WHERE sequence_number BETWEEN ? AND ?",
        (first, last),
    )
    connection.close()
