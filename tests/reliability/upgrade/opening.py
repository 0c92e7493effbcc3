"""What is done to a kept store by today's version: it is served, migrated, backed up and restored, and copied.

Each is tried on a copy of its own, and returns how many facts were compared.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from factstr_server.stores.migration import Migration
from factstr_server.stores.offline import back_up_store, migrate_store, restore_store, verify_store
from factstr_server.stores.protocol import StoreError
from tests.backups.damaging import in_silence
from tests.copying.content import path_of, rows_of, select, terms_of
from tests.copying.copied import copied
from tests.postgres.fresh import fresh_url
from tests.reliability.upgrade.fixtures import FIXTURES, Fixture
from tests.reliability.upgrade.holding import check_same, go_on, hold
from tests.reliability.upgrade.kept import Kept, load
from tests.sharing.recording import whole_log
from tests.sharing.servers import serving
from tests.stores.opened import opened, url_of

NEWEST: Final = 2

_WRITTEN: Final = ("facts", "batches", "idempotency_keys")
"""Tables that every format has, and a view of the facts."""


async def held(url: str, kept: Kept, *, restored: bool = False) -> int:
    async with serving(url) as store:
        return await hold(store, kept, restored=restored)


async def serve(fixture: Fixture, folder: Path) -> int:
    """Served as it is; opened once, it is not changed by being opened again, or asked. Then its log goes on."""
    url, kept = fixture.placed(folder), load(fixture.kept_file)
    written = _rows(url)
    async with opened(url):
        pass
    _check_unchanged(url, written)
    before = rows_of(url), terms_of(url)
    facts = await held(url, kept)
    assert (rows_of(url), terms_of(url)) == before
    async with serving(url) as store:
        log = await go_on(store, kept)
    _verify(url)
    async with serving(url) as store:
        check_same("the log", await whole_log(store), log)
    return facts + log[-1].last


async def migrate(fixture: Fixture, folder: Path) -> int:
    """Brought to today's format, once; all that was written stays as it is."""
    url, kept = fixture.placed(folder), load(fixture.kept_file)
    written = _rows(url)
    assert await migrate_store(url) == Migration(fixture.format, NEWEST)
    assert await migrate_store(url) == Migration(NEWEST, NEWEST)
    _check_unchanged(url, written)
    _verify(url)
    return await held(url, kept)


async def back_up_and_restore(fixture: Fixture, folder: Path) -> int:
    """A backup has the store's format, and `verify` leaves an earlier one alone. Restoring brings it to today's."""
    url, kept = fixture.placed(folder), load(fixture.kept_file)
    backup, restored = folder / "backup", url_of(folder / "restored.db")
    content = path_of(url).read_bytes()
    back_up_store(url, backup, in_silence)
    if fixture.format < NEWEST:
        with pytest.raises(StoreError, match=f"has the earlier format {fixture.format}; bring it to format"):
            verify_store(url, in_silence)
        with pytest.raises(StoreError, match=f"has the earlier format {fixture.format}; restoring brings it"):
            verify_store(url_of(backup), in_silence)
    else:
        _verify(url)
        _verify(url_of(backup))
    assert path_of(url).read_bytes() == content
    restore_store(backup, restored, in_silence)
    _verify(restored)
    return await held(restored, kept, restored=True)


async def copy(fixture: Fixture, folder: Path) -> int:
    """To a store of the other kind, once it has today's format."""
    url, kept = fixture.placed(folder), load(fixture.kept_file)
    there = folder / "there"
    there.mkdir()
    target = fresh_url(there) if fixture.kind == "sqlite" else url_of(there / "facts.db")
    if fixture.format < NEWEST:
        written = _rows(url)
        with pytest.raises(StoreError, match=f"has the earlier format {fixture.format}; bring it to format"):
            await copied(url, target)
        _check_unchanged(url, written)
        await migrate_store(url)
    await copied(url, target)
    _verify(target)
    return await held(target, kept)


def _rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: [tuple(map(str, row)) for row in select(url, f"SELECT * FROM {table} ORDER BY 1")]
        for table in _WRITTEN
    }


def _check_unchanged(url: str, written: dict[str, list[tuple[Any, ...]]]) -> None:
    for table, rows in _rows(url).items():
        check_same(f"the table {table}", rows, written[table])


def _verify(url: str) -> None:
    if url.startswith("sqlite"):
        found = verify_store(url, in_silence)
        assert not found.findings, "\n".join(found.findings)


class Opening(NamedTuple):
    """A kept store, and what is done to it."""

    fixture: Fixture
    do: Callable[[Fixture, Path], Awaitable[int]]

    @property
    def name(self) -> str:
        return f"{self.fixture.name}-{self.do.__name__}"


def openings(*, every: bool) -> list[Opening]:
    """All stores are served; the rest is done to those of earlier formats, or to every one."""
    found = [Opening(fixture, serve) for fixture in FIXTURES.values()]
    for fixture in FIXTURES.values():
        if every or fixture.format < NEWEST:
            found += [Opening(fixture, migrate), Opening(fixture, copy)]
            if fixture.kind == "sqlite":
                found.append(Opening(fixture, back_up_and_restore))
    return found
