"""A copy that ends early, whenever and however, leaves a target that servers, migrations and other copies refuse."""

import asyncio
import re
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from factstr_server.stores.copy_protocol import CopyTarget, Identity
from factstr_server.stores.copying import UnfinishedCopy, copy_store
from factstr_server.stores.offline import migrate_store, source_by_url
from factstr_server.stores.opening import sqlite_path
from factstr_server.stores.postgres.copying import SchemaTarget
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.copying import FileTarget
from tests.conformance.driver import NewFact
from tests.conformance.matrix import StoreKind
from tests.copying.conftest import KINDS, Places, fresh
from tests.copying.content import path_of, rows_of, schema_of, select, small, whole
from tests.copying.copied import command, copied, in_silence
from tests.copying.held import HeldCopy, remove
from tests.stores.opened import commit, opened


async def is_refused(places: Places) -> None:
    """Until it is removed; then a copy succeeds."""
    served = await command("serve", "--store", places.target, "--listen", "127.0.0.1:0")
    assert "an unfinished copy" in served.failure
    assert len(served.errors) == 1
    for source, target in (places, (places.target, places.source)):
        with pytest.raises(StoreError, match="an unfinished copy") as caught:
            await copied(source, target)
        assert not isinstance(caught.value, UnfinishedCopy)
    with pytest.raises(StoreError, match="an unfinished copy"):
        await migrate_store(places.target)
    remove(places.target)
    await copied(*places)
    assert await whole(places.target) == await whole(places.source)


async def test_a_copy_that_was_killed_is_refused(places: Places) -> None:
    await small(places.source, 50)
    async with HeldCopy(places, 50) as copy:
        copy.process.kill()
        await copy.process.wait()
    assert len(rows_of(places.target)["records"]) == 50
    await is_refused(places)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_copy_that_is_interrupted_says_so_and_is_refused(
    from_a_file: Places, number: signal.Signals
) -> None:
    await small(from_a_file.source, 50)
    async with HeldCopy(from_a_file, 50) as copy:
        copy.process.send_signal(number)
        ended = await copy.let_go()
    assert "interrupted; " in ended.failure
    assert "holds an unfinished copy now" in ended.failure
    assert ended.out == ""
    await is_refused(from_a_file)


async def test_another_copy_to_the_same_place_is_refused_while_one_is_under_way(from_a_file: Places) -> None:
    await small(from_a_file.source, 50)
    async with HeldCopy(from_a_file, 50) as copy:
        for arguments in (
            ("--from", from_a_file.source, "--to", from_a_file.target),
            ("--from", from_a_file.target),
        ):
            other = await command("copy", *arguments, "--to", from_a_file.target)
            assert re.search(r"is in use by another server|unfinished copy, or|to itself", other.failure)
        served = await command("serve", "--store", from_a_file.target, "--listen", "127.0.0.1:0")
        assert re.search(r"is in use by another server|unfinished copy, or", served.failure)
        ended = await copy.let_go()
    assert ended.code == 0
    assert await whole(from_a_file.target) == await whole(from_a_file.source)


async def test_a_full_disk_ends_the_copy_with_one_line(kind: StoreKind, tmp_path: Path) -> None:
    places = Places(fresh(kind, tmp_path / "source"), fresh(KINDS[0], tmp_path / "target"))
    async with opened(places.source) as store:
        for _ in range(20):
            await commit(store, NewFact("a", '"' + "x" * 500_000 + '"'))

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    failed = await command("copy", "--from", places.source, "--to", places.target, prepare=no_room)
    assert str(path_of(places.target)) in failed.failure
    assert "holds an unfinished copy now" in failed.failure
    await is_refused(places)


@pytest.mark.parametrize("lost", ["source", "target"])
async def test_a_lost_connection_ends_the_copy_with_one_line(tmp_path: Path, lost: str) -> None:
    postgres = next(kind for kind in KINDS if kind.name == "postgresql")
    places = Places(fresh(postgres, tmp_path / "source"), fresh(postgres, tmp_path / "target"))
    await small(places.source)
    url = getattr(places, lost)
    name = schema_of(url)

    def progress(doing: str, done: int, total: int) -> None:
        if done == total:
            select(
                url,
                f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = '{name}'",
            )

    named = places._replace(**{lost: f"{url}&application_name={name}"})
    with pytest.raises(UnfinishedCopy) as caught:
        await copied(*named, progress)
    assert "cannot use postgresql://" in str(caught.value)
    assert "\n" not in str(caught.value)
    await is_refused(places)


@pytest.mark.parametrize("used", ["source", "target"])
async def test_a_server_that_begins_meanwhile_spoils_the_copy(tmp_path: Path, used: str) -> None:
    postgres = next(kind for kind in KINDS if kind.name == "postgresql")
    places = Places(fresh(postgres, tmp_path / "source"), fresh(postgres, tmp_path / "target"))
    await small(places.source)
    beat = "INSERT INTO servers VALUES (gen_random_uuid(), now(), clock_timestamp())"

    def progress(doing: str, done: int, total: int) -> None:
        if (doing, done) == ("comparing", total):
            select(getattr(places, used), beat)

    with pytest.raises(UnfinishedCopy, match="is in use by 1 server"):
        await copied(*places, progress)
    with pytest.raises(StoreError, match=r"is in use by 1 server|an unfinished copy"):
        await copied(*places)


async def test_a_copy_that_is_interrupted_at_its_last_step_is_finished(
    from_a_file: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(from_a_file.source)
    for target in (FileTarget, SchemaTarget):
        finish = target.finish

        async def finish_after_all(self: Any, finish: Any = finish) -> None:
            copying.cancel()
            await asyncio.sleep(0)
            await finish(self)

        monkeypatch.setattr(target, "finish", finish_after_all)
    copying = asyncio.create_task(copied(*from_a_file))
    assert (await copying).facts == 5
    assert await whole(from_a_file.target) == await whole(from_a_file.source)


class MeddledFile(FileTarget):
    """Somebody changes what was written."""

    change = ""

    async def write_identity(self, identity: Identity, *newest: object) -> None:
        await super().write_identity(identity, *newest)  # type: ignore[arg-type]
        await self._run(self._open_connection.execute, self.change)


class MeddledSchema(SchemaTarget):
    """Somebody changes what was written."""

    change = ""

    async def write_identity(self, identity: Identity, *newest: object) -> None:
        await super().write_identity(identity, *newest)  # type: ignore[arg-type]
        await self._connection.execute(f"SET search_path = {self._location.schema}")
        await self._connection.execute(self.change)


DIFFERENCES = {
    "UPDATE records SET metadata = '{{}}' WHERE sequence_number = 2": "in fact 2: metadata_text",
    "UPDATE records SET occurred_at = {earlier} WHERE sequence_number = 3": "in fact 3: occurred_at",
    "UPDATE records SET opening_bytes = 0 WHERE sequence_number = 1": "at fact 1",
    "DELETE FROM records WHERE sequence_number = 5": "",
    "DELETE FROM records WHERE sequence_number = 1": "it has no fact 1",
    "DELETE FROM batches": "larger_batches",
    "UPDATE batches SET last_sequence_number = 6": "has no end",
    "DELETE FROM idempotency_keys": ": keys",
    "UPDATE idempotency_keys SET last_sequence_number = 4": "fact 4: last_sequence_number",
    "UPDATE durable_streams SET cursor = 3": "in the durable stream 's': cursor",
    "UPDATE store SET last_lease_epoch = 70": "as a whole: identity",
}


@pytest.mark.parametrize("change", DIFFERENCES)
async def test_the_comparison_finds_every_difference(from_a_file: Places, change: str) -> None:
    await small(from_a_file.source)
    target: CopyTarget
    if from_a_file.target.startswith("sqlite"):
        target = MeddledFile(from_a_file.target, sqlite_path(from_a_file.target))
        target.change = change.format(earlier="0")
    else:
        target = MeddledSchema(from_a_file.target)
        target.change = change.format(earlier="to_timestamp(0)")
    with pytest.raises(UnfinishedCopy) as caught:
        await copy_store(source_by_url(from_a_file.source), target, in_silence)
    assert DIFFERENCES[change] in str(caught.value)
    with pytest.raises(StoreError, match="an unfinished copy"):
        await copied(*from_a_file)


async def test_a_copy_that_is_cancelled_before_it_has_begun_changes_nothing(places: Places) -> None:
    await small(places.source)
    copying = asyncio.create_task(copied(*places))
    await asyncio.sleep(0)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await copied(*places)
