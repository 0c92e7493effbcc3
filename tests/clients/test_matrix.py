"""The README's matrix is whole and green. That it is what came of a run, `scripts/client-matrix --check` says."""

from collections import Counter
from pathlib import Path

from tests.clients.cases import cases
from tests.clients.languages import LANGUAGES
from tests.clients.matrix import README, passed_in, table


def test_the_readme_shows_every_case_passed_by_every_client() -> None:
    passed = Counter(
        (case.feature, language.name) for case in cases() for _ in case.stores for language in LANGUAGES
    )
    assert table(passed) in README.read_text(encoding="utf-8")


def test_what_failed_or_was_left_out_does_not_count(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    name = "test_a_client_does_what_the_case_says[append_if-a-case-that-is-tried-memory-go]"
    results.write_text(
        f"""<testsuites><testsuite>
        <testcase name="{name}"/>
        <testcase name="{name.replace("-go]", "-rust]")}"><failure>no</failure></testcase>
        <testcase name="{name.replace("-go]", "-java]")}"><skipped>no</skipped></testcase>
        <testcase name="test_something_else[append_if-memory-go]"/>
        </testsuite></testsuites>"""
    )
    assert passed_in(str(results)) == {("append_if", "go"): 1}
