"""The seeded bugs themselves: each applies, and names a test that there is. `scripts/reliability` tries all of them."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.part import Trial
from tests.reliability.parts import PARTS
from tests.reliability.seeded.bugs import ROOT, Bug, all_bugs, build
from tests.reliability.seeded.part import PART

BUGS = all_bugs()


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_applies_to_the_server_as_it_is(bug: Bug, tmp_path: Path) -> None:
    build(tmp_path, bug)
    re.compile(bug.says)
    assert bug.name.startswith(f"{bug.part}-")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_names_a_test_that_there_is(bug: Bug) -> None:
    file, _, test = bug.test.partition("::")
    name = test.partition("[")[0]
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_part_has_bugs_that_its_checks_must_catch() -> None:
    known = Counter(bug.part for bug in BUGS)
    assert known.keys() == {part.name for part in PARTS} - {PART.name}
    assert all(number >= 2 for number in known.values()), known


@pytest.mark.timeout(240)
async def test_a_broken_build_is_caught_and_a_sound_one_is_not(trial: Trial) -> None:
    figures = await PART.run(PART.sizes["quick"], trial)
    assert figures["seeded bugs, all caught"] == 1
