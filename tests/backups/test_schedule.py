"""What docs/backups.md and the overlay of Kubernetes do by themselves: a verified backup, and only then old ones go."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT
from tests.backups.damaging import damage
from tests.stores.opened import url_of

[SCRIPT] = re.findall(
    r"```sh\n(.*?)```", (ROOT / "docs" / "backups.md").read_text(encoding="utf-8"), re.DOTALL
)

DAY_SECONDS = 86_400


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """With backups of 15 and 13 days, and what two that were killed have left, one of them just now."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for name, days in (
        ("facts-old.db", 15.5),
        ("facts-new.db", 13.5),
        ("facts-killed.db.partial", 1.5),
        ("facts-killed.db.partial.lock", 1.5),
        ("facts-going-on.db.partial", 0.0),
        ("theirs", 99.0),
    ):
        (folder / name).touch()
        then = time.time() - days * DAY_SECONDS
        os.utime(folder / name, (then, then))
    return folder


def run(database: Path, backups: Path) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.replace("/backups", str(backups)).replace("/var/lib/factstr/facts.db", str(database))
    return subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_is_silent_and_leaves_what_is_not_old(database: Path, backups: Path) -> None:
    done = run(database, backups)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [made, *others] = sorted(path.name for path in backups.iterdir())
    assert re.fullmatch(r"facts-\d{8}T\d{6}\.db", made)
    assert others == ["facts-going-on.db.partial", "facts-new.db", "theirs"]


def test_nothing_goes_and_the_reason_is_told_where_no_backup_comes_about(
    database: Path, backups: Path
) -> None:
    before = sorted(backups.iterdir())
    database.unlink()
    done = run(database, backups)
    assert done.returncode == 1
    assert done.stderr == f"factstr-server: there is no store at {database}\n"
    assert sorted(backups.iterdir()) == before


def test_nothing_goes_and_findings_are_told_where_the_backup_is_damaged(
    database: Path, backups: Path
) -> None:
    before = set(backups.iterdir())
    damage(database, "UPDATE durable_streams SET cursor = 7")
    done = run(database, backups)
    [made] = set(backups.iterdir()) - before
    assert done.returncode == 1
    assert done.stdout == "the durable stream 's' has the cursor 7, which is not within 0 and the head 6\n"
    assert done.stderr.startswith(f"factstr-server: {url_of(made)} is damaged: 1 finding;")
    assert before < set(backups.iterdir())
