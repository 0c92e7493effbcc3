"""A copy holds exactly what its source holds, in every direction between kinds of stores."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstr_server.stores.copying import Copied
from factstr_server.stores.protocol import Committed, Repeated
from tests.conformance.driver import NewFact
from tests.conformance.matrix import StoreKind
from tests.contract.json_strategies import texts
from tests.copying.conftest import KINDS, Places, fresh
from tests.copying.content import files_of, fill, rows_of, small, whole
from tests.copying.copied import copied
from tests.postgres.fresh import drop_schemas
from tests.stores.opened import opened, prepared
from tests.stores.test_earlier_format import without_framing


async def test_everything_is_the_same_in_the_copy(places: Places) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    await fill(places.source, random.Random(seed))
    before, files = await whole(places.source), files_of(places.source)
    done = await copied(*places)
    assert files_of(places.source) == files, "the source is only read"
    after = await whole(places.target)
    for name, one, other in zip(before._fields, before, after, strict=True):
        assert one == other, name
    rows = before.rows
    assert done == Copied(
        len(rows["records"]), len(before.frames), len(rows["idempotency_keys"]), len(rows["durable_streams"])
    )


async def test_a_copy_of_a_copy_of_another_kind_is_the_same_again(tmp_path: Path, kind: StoreKind) -> None:
    first, second, third = (fresh(k, tmp_path / str(i)) for i, k in enumerate((kind, *KINDS)))
    await fill(first, random.Random(1))
    await copied(first, second)
    await copied(second, third)
    assert await whole(third) == await whole(first)


async def test_an_empty_store_is_copied_with_its_identity(places: Places) -> None:
    async with opened(places.source) as store:
        info = store.info
    assert await copied(*places) == Copied(0, 0, 0, 0)
    async with opened(places.target) as copy:
        assert copy.info[1:] == info[1:]
        assert await copy.head() == 0
        [outcome] = await copy.commit([prepared([NewFact()])])
        assert isinstance(outcome, Committed)
        assert outcome.first_sequence_number == 1


async def test_a_target_that_is_there_and_empty_becomes_the_source(places: Places) -> None:
    await small(places.source)
    async with opened(places.target):
        pass
    await copied(*places)
    assert await whole(places.target) == await whole(places.source)


async def test_the_copy_goes_on_where_the_source_stopped(places: Places) -> None:
    await small(places.source, 5)
    await copied(*places)
    outcomes = []
    for url in places:
        async with opened(url) as store:
            again, new = await store.commit(
                [
                    prepared([NewFact("a"), NewFact("b")], key="k"),
                    prepared([NewFact("c"), NewFact("c")], key="new"),
                ]
            )
            assert isinstance(again, Repeated)
            assert isinstance(new, Committed)
            outcomes.append((again, new[:2], (await store.reset("s", 0, force=False))[1:4]))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("earlier", [(1, 30), (1, 12), (18, 30)])
async def test_records_of_the_first_format_are_framed_in_the_copy(
    tmp_path: Path, kind: StoreKind, earlier: tuple[int, int]
) -> None:
    source, target = fresh(KINDS[0], tmp_path / "source"), fresh(kind, tmp_path / "target")
    async with opened(source) as store:
        for size in (3, 1, 1, 1) * 5:
            await store.commit([prepared([NewFact("a", '{"n":1}', {"m": "é"})] * size)])
    framed = await whole(source)
    without_framing(tmp_path / "source" / "facts.db", *earlier)
    assert rows_of(source) != framed.rows
    await copied(source, target)
    assert await whole(target) == framed


facts = st.builds(
    NewFact,
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
    texts,
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=3),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
        max_size=3,
    ),
)


@settings(max_examples=10)
@given(st.lists(st.lists(facts, min_size=1, max_size=4), max_size=15))
def test_whatever_is_valid_comes_through_every_kind(batches: list[list[NewFact]]) -> None:
    async def there_and_back(folder: Path) -> None:
        urls = [fresh(kind, folder / str(i)) for i, kind in enumerate((*KINDS, KINDS[0]))]
        async with opened(urls[0]) as store:
            for index, batch in enumerate(batches):
                await store.commit([prepared(batch, key=f"k{index}" if index % 2 else "")])
        await copied(urls[0], urls[1])
        await copied(urls[1], urls[2])
        first, *others = [await whole(url) for url in urls]
        assert [others[0], others[1]] == [first, first]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(there_and_back(Path(folder)))
    drop_schemas()
