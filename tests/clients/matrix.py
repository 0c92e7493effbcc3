"""The README's matrix: how many cases each client passes, from the results of a run (pytest's JUnit XML).

python -m tests.clients.matrix results.xml           writes it into README.md
python -m tests.clients.matrix results.xml --check   fails when it is not there as it should be
"""

import re
import sys
from collections import Counter
from typing import Final
from xml.etree import ElementTree as ET

from tests.architecture.repository import ROOT
from tests.clients.cases import cases
from tests.clients.languages import LANGUAGES

README: Final = ROOT / "README.md"
_NAMES: Final = {"go": "Go", "java": "Java", "python": "Python", "rust": "Rust", "typescript": "TypeScript"}
_TABLE: Final = re.compile(r"^\| cases \|.*?\n(?=\n)", re.DOTALL | re.MULTILINE)


def features() -> dict[str, int]:
    """Each file of cases, and how many there are in it, counted once a store."""
    return Counter(case.feature for case in cases() for _ in case.stores)


def table(passed: Counter[tuple[str, str]]) -> str:
    """By feature and language."""
    rows = [
        ["cases", *(_NAMES[language.name] for language in LANGUAGES)],
        ["---"] * (1 + len(LANGUAGES)),
    ]
    for feature, number in features().items():
        cells = [f"{passed[feature, language.name]} of {number}" for language in LANGUAGES]
        rows.append([f"[{feature.replace('_', ' ')}](clients/conformance/{feature}.yaml)", *cells])
    return (
        "".join(f"| {' | '.join(row)} |\n" for row in rows)
        .replace("| --- ", "|---")
        .replace("|--- |", "|---|")
    )


def passed_in(results: str) -> Counter[tuple[str, str]]:
    """How many cases of a file a language has passed."""
    passed: Counter[tuple[str, str]] = Counter()
    for test in ET.parse(results).iter("testcase"):
        found = re.fullmatch(
            r"test_a_client_does_what_the_case_says\[([a-z_]+)-.*-([a-z]+)\]", test.get("name", "")
        )
        if found and not list(test):
            passed[found[1], found[2]] += 1
    return passed


def main() -> None:
    results, *check = sys.argv[1:]
    text = README.read_text(encoding="utf-8")
    made = _TABLE.sub(lambda _: table(passed_in(results)), text, count=1)
    if check:
        if made != text:
            sys.exit(f"The README's matrix is not what came of this run:\n{table(passed_in(results))}")
    else:
        README.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
