"""A run: whatever ends it, what was found before is kept, and nothing is left behind."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from benchmarks import measuring
from benchmarks.__main__ import main
from benchmarks.comparison import in_turn
from benchmarks.facts import VARIABLE, FactSource
from benchmarks.ledger import CheckFailed
from benchmarks.presets import PRESETS
from benchmarks.recorded import Run, read
from benchmarks.results import Result, Setting, Skipped


async def found(setting: Setting) -> Result:
    (setting.folder / "log.db").write_text("facts")
    return Result("found", notes=["something"])


async def skipped(_: Setting) -> Result:
    raise Skipped("no database")


async def defective(_: Setting) -> Result:
    async with asyncio.TaskGroup():
        raise ZeroDivisionError("a defect")


async def wrong(_: Setting) -> Result:
    raise CheckFailed("a fact is missing")


async def stopped(setting: Setting) -> Result:
    await found(setting)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(30)
    raise AssertionError("it went on")


async def failing_when_stopped(setting: Setting) -> Result:
    try:
        return await stopped(setting)
    except asyncio.CancelledError:
        raise OSError("a server has gone") from None


SCENARIOS = {
    each.__name__: each for each in (found, skipped, defective, wrong, stopped, failing_when_stopped)
}


@pytest.fixture(autouse=True)
def scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SCENARIOS", SCENARIOS)


def measured(folder: Path, *names: str) -> tuple[int, Run]:
    file = folder / "run.json"
    databases = folder / "databases"
    databases.mkdir()
    source = FactSource("none", [])
    try:
        code = asyncio.run(measuring.measured_run(PRESETS["quick"], source, names, databases, file))
    except asyncio.CancelledError:
        code = -1
    assert list(databases.iterdir()) == []
    return code, read(file)


def test_a_scenario_that_fails_in_any_way_fails_the_run_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = measured(tmp_path, "defective", "wrong", "found")
    assert code == 1
    assert run.failures == {
        "defective": "ZeroDivisionError: a defect",
        "wrong": "CheckFailed: a fact is missing",
    }
    assert [result.scenario for result in run.results] == ["found"]
    told = capsys.readouterr().err
    assert told.endswith(
        "FAILED: defective: ZeroDivisionError: a defect\nFAILED: wrong: CheckFailed: a fact is missing\n"
    )
    assert "in defective" in told
    assert "in wrong" not in told


def test_what_is_lacking_on_the_machine_is_no_failure(tmp_path: Path) -> None:
    code, run = measured(tmp_path, "skipped", "found")
    assert (code, run.skipped) == (0, {"skipped": "no database"})


def test_each_scenario_is_told_when_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, "found", "skipped")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["found begins, 1 of 2", "skipped begins, 2 of 2"]


@pytest.mark.parametrize("last", ["stopped", "failing_when_stopped"])
def test_sigterm_leaves_what_was_found_and_no_databases(tmp_path: Path, last: str) -> None:
    code, run = measured(tmp_path, "found", last, "found")
    assert code == -1
    assert ([result.scenario for result in run.results], run.failures) == (["found"], {})


@pytest.mark.parametrize("option", ["--json", "--directory"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        main([option, str(tmp_path / "file" / "below")])
    assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]


def test_facts_that_are_unusable_are_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(SystemExit, match="2"):
        main(["--directory", str(tmp_path)])
    assert str(tmp_path / "absent") in capsys.readouterr().err.splitlines()[-1]


def test_rounds_go_there_and_back_and_the_first_does_not_count() -> None:
    assert list(in_turn("ab", 2)) == [
        ("b", False),
        ("a", False),
        ("a", True),
        ("b", True),
        ("b", True),
        ("a", True),
    ]
