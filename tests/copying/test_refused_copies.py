"""What is no whole store is not copied, and what is no new or empty one is not copied to; nothing is changed then."""

from pathlib import Path

import pytest

from factstr_server.stores.copying import UnfinishedCopy
from factstr_server.stores.offline import source_by_url, target_by_url
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.stream_protocol import Acquisition
from tests.conformance.driver import NewFact
from tests.conformance.matrix import StoreKind
from tests.copying.conftest import KINDS, Places, fresh
from tests.copying.content import connected, files_of, path_of, rows_of, schema_of, select, small, whole
from tests.copying.copied import copied
from tests.stores.opened import opened, prepared


async def refusal(source: str, target: str) -> str:
    """Why there is no copy. One line, and the target is as it was."""
    with pytest.raises(StoreError) as caught:
        await copied(source, target)
    message = str(caught.value)
    assert not isinstance(caught.value, UnfinishedCopy)
    assert "\n" not in message
    return message


async def test_a_store_that_holds_facts_is_not_copied_to(places: Places) -> None:
    await small(places.source)
    await small(places.target, 3)
    before, files = await whole(places.target), files_of(places.target)
    assert "is not empty" in await refusal(*places)
    assert files_of(places.target) == files
    assert await whole(places.target) == before


async def test_a_store_that_holds_a_durable_stream_alone_is_not_empty(places: Places) -> None:
    await small(places.source)
    async with opened(places.target) as store:
        await store.acquire(Acquisition("s", "[]", "[]", "h"))
    assert "is not empty" in await refusal(*places)


async def test_a_source_that_is_not_there_is_refused_and_not_made(places: Places) -> None:
    assert "there is no store" in await refusal(*places)
    for url in places:
        assert not url.startswith("sqlite") or not path_of(url).exists()
    await small(places.target)
    assert "there is no store" in await refusal(*places)


async def test_a_store_is_not_copied_to_itself(kind: StoreKind, tmp_path: Path) -> None:
    url = fresh(kind, tmp_path / "it")
    await small(url)
    assert "to itself" in await refusal(url, url)


async def test_a_memory_store_is_neither_copied_nor_copied_to() -> None:
    for by_url in (source_by_url, target_by_url):
        with pytest.raises(StoreError, match="ends with its server"):
            by_url("memory:")
        with pytest.raises(StoreError, match=r"mysql://u:\*\*\*@host/db"):
            by_url("mysql://u:secret@host/db")


@pytest.mark.parametrize("found", [1, 99])
async def test_another_format_is_refused_with_what_to_do(places: Places, found: int) -> None:
    await small(places.source)
    set_format(places.source, found)
    message = await refusal(*places)
    assert ("upgrade it" if found == 99 else "factstr-server migrate") in message
    set_format(places.source, 2)
    async with opened(places.target):
        pass
    set_format(places.target, 99)
    assert "upgrade it" in await refusal(*places)


def set_format(url: str, number: int) -> None:
    if url.startswith("sqlite"):
        select(url, f"PRAGMA user_version = {number}")
    else:
        select(url, f"UPDATE schema_format SET format = {number}")


async def test_a_file_that_is_no_store_is_refused_on_both_sides(tmp_path: Path) -> None:
    url = fresh(KINDS[0], tmp_path / "it")
    other = fresh(KINDS[0], tmp_path / "other")
    for content in (b"no database" * 100, None):
        if content:
            path_of(url).write_bytes(content)
        else:
            path_of(url).unlink()
            select(url, "CREATE TABLE theirs (x)")
        before = path_of(url).read_bytes()
        expected = "not a SQLite database" if content else "another application"
        assert expected in await refusal(url, other)
        await small(other)
        assert expected in await refusal(other, url)
        assert path_of(url).read_bytes() == before
        path_of(other).unlink()


async def test_a_server_that_was_killed_counts_for_a_while(tmp_path: Path, kind: StoreKind) -> None:
    postgres = next(k for k in KINDS if k.name == "postgresql")
    source, target = fresh(postgres, tmp_path / "source"), fresh(kind, tmp_path / "target")
    await small(source)
    beat = "INSERT INTO servers VALUES (gen_random_uuid(), now(), clock_timestamp() - interval '{}')"
    select(source, beat.format("14 seconds"))
    assert "in use by 1 server:" in await refusal(source, target)
    select(source, "UPDATE servers SET heartbeat_at = heartbeat_at - interval '2 seconds'")
    await copied(source, target)


DAMAGES = {
    "a fact is missing": ("DELETE FROM records WHERE sequence_number = 2", "it has no fact 2"),
    "the last fact is missing": ("DELETE FROM records WHERE sequence_number = 5", "has no end"),
    "a time differs": ("UPDATE records SET occurred_at = {earlier} WHERE sequence_number = 2", "fact 2"),
    "a type differs": ("UPDATE records SET event_type = 'z' WHERE sequence_number = 2", "fact 2"),
    "a batch is too many": ("INSERT INTO batches VALUES (1, 2)", "fact 1"),
    "a batch overlaps": ("INSERT INTO batches VALUES (5, 5)", "fact 4"),
    "a batch is nowhere": ("INSERT INTO batches VALUES (70, 71)", "batches"),
    "a batch is lost": ("DELETE FROM batches", "fact 4"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_source_is_found_and_leaves_an_unfinished_copy(
    tmp_path: Path, kind: StoreKind, damage: str
) -> None:
    source, target = fresh(kind, tmp_path / "source"), fresh(KINDS[0], tmp_path / "target")
    await small(source, 5)
    change, found = DAMAGES[damage]
    earlier = "0" if source.startswith("sqlite") else "to_timestamp(0)"
    select(source, change.format(earlier=earlier))
    with pytest.raises(UnfinishedCopy) as caught:
        await copied(source, target)
    assert found in str(caught.value)
    assert str(path_of(source) if source.startswith("sqlite") else schema_of(source)) in str(caught.value)
    assert "unfinished copy" in await refusal(source, target)


async def test_a_role_that_may_not_write_the_schema_is_told(tmp_path: Path) -> None:
    postgres = next(k for k in KINDS if k.name == "postgresql")
    source, target = fresh(KINDS[0], tmp_path / "source"), fresh(postgres, tmp_path / "target")
    await small(source)
    role = schema_of(target)
    with connected(target) as connection:
        connection.execute(f"CREATE ROLE {role}_reader LOGIN PASSWORD 'secret'")
    try:
        as_reader = f"{target}&user={role}_reader&password=secret"
        assert "may not create it" in await refusal(source, as_reader)
        async with opened(target) as store:
            [_] = await store.commit([prepared([NewFact()])])
        before = rows_of(target)
        message = await refusal(source, as_reader)
        assert "may not use it" in message
        assert "secret" not in message
        assert rows_of(target) == before
        select(target, f"TRUNCATE records; GRANT USAGE ON SCHEMA {role} TO {role}_reader")
        select(target, f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {role} TO {role}_reader")
        assert "may not copy into the schema" in await refusal(source, as_reader)
    finally:
        select(target, f"DROP OWNED BY {role}_reader; DROP ROLE {role}_reader")
