"""The check of the checks: the test that guards what a seeded bug breaks catches it, and passes without it."""

import asyncio
from pathlib import Path
from typing import Final

from tests.reliability.part import Figures, Part, Trial
from tests.reliability.seeded.bugs import all_bugs, build, imported_from, run_test, tries_until_caught

SIZES: Final[dict[str, tuple[str, ...] | None]] = {
    "quick": ("linearizability-blind-to-the-group",),
    "nightly": None,
    "full": None,
}
"""Names of bugs; None: all."""


async def run(size: tuple[str, ...] | None, trial: Trial) -> Figures:
    return await asyncio.to_thread(_run, size, trial)


def _run(names: tuple[str, ...] | None, trial: Trial) -> Figures:
    bugs = [bug for bug in all_bugs() if names is None or bug.name in names]
    sound = build(_folder(trial, "sound"), None)
    assert imported_from(sound).is_relative_to(sound), "the copy is not what is imported"
    tests = sorted({bug.test for bug in bugs})
    problems: list[str] = []
    for test in tests:
        passed, output = run_test(test, sound, trial.folder / "sound", trial.seed)
        if not passed:
            problems.append(f"{test} fails without a bug:\n{output[-4_000:]}")
    tries: dict[str, int] = {}
    for bug in bugs:
        try:
            tries[bug.name] = tries_until_caught(bug, _folder(trial, bug.name), trial.chance(bug.name))
            if not tries[bug.name]:
                problems.append(f"not caught: {bug.name}")
        except AssertionError as problem:
            problems.append(str(problem))
        trial.say(f"seeded: {bug.name} {'caught' if tries.get(bug.name) else 'NOT CAUGHT'}")
    assert not problems, "\n".join(problems)
    return {"tests that pass on the sound build": len(tests), "seeded bugs, all caught": len(bugs), **tries}


def _folder(trial: Trial, name: str) -> Path:
    folder = trial.folder / name
    folder.mkdir()
    return folder


PART = Part("seeded", "Seeded bugs", SIZES, run)
