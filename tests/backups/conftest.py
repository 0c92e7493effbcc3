"""A store whose backups are tried."""

from pathlib import Path

import pytest

from tests.backups.damaging import make_store


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    await make_store(tmp_path / "store" / "facts.db")
    return tmp_path / "store" / "facts.db"
