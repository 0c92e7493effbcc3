"""What the page says was found is what the lab has found, in full."""

import json

from tests.reliability.page import PAGE, RUN, merged, with_figures
from tests.reliability.parts import PARTS
from tests.reliability.seeded.bugs import all_bugs

RESULTS = json.loads(RUN.read_text(encoding="utf-8"))


def test_the_page_shows_the_figures_that_are_kept_beside_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_figures(page, RESULTS) == page


def test_every_part_was_tried_in_full_and_kept_its_promise() -> None:
    assert [result["part"] for result in RESULTS] == [part.name for part in PARTS]
    for result in RESULTS:
        assert result["preset"] == "full"
        assert "error" not in result


def test_every_seeded_bug_was_tried_and_caught() -> None:
    [seeded] = [result for result in RESULTS if result["part"] == "seeded"]
    assert all(seeded["figures"][bug.name] for bug in all_bugs())


def test_a_run_of_one_part_leaves_what_others_have_found() -> None:
    newer = {**RESULTS[0], "seed": -1}
    assert merged(RESULTS, [newer]) == [newer, *RESULTS[1:]]
