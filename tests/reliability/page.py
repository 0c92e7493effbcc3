"""The figures of a run as they stand in `docs/reliability.md`, between two marks.

`python -m tests.reliability.page RUN.json` puts them there, and keeps the run beside the page.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.reliability.seeded.bugs import ROOT, all_bugs
from tests.reliability.seeded.part import PART as SEEDED

PAGE: Final = ROOT / "docs" / "reliability.md"
RUN: Final = ROOT / "docs" / "reliability" / "run.json"
_BEGIN: Final = "<!-- Made by tests/reliability/page.py. -->\n"
_END: Final = "<!-- End of what is made. -->\n"


def with_figures(page: str, run: Mapping[str, Any]) -> str:
    """The page with the figures of this run."""
    before, _, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, f"{PAGE} has lost its marks"
    return f"{before}{_BEGIN}{''.join(_figures(run))}{_END}{after}"


def _figures(run: Mapping[str, Any]) -> Iterator[str]:
    yield f"\nPreset `{run['preset']}`, commit `{run['commit']}`, {run['date']}.\n\n"
    yield "| part | tried and found |\n|---|---|\n"
    for part in run["parts"]:
        yield f"| **{part['title']}** ({_minutes(part['seconds'])}) | {_found(part)} |\n"
    yield "\n"
    for part in run["parts"]:
        if part["part"] == SEEDED.name and "figures" in part:
            yield from _bugs(part["figures"])


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds} s"


def _found(part: Mapping[str, Any]) -> str:
    if "error" in part:
        return "**FAILED**"
    names = {bug.name for bug in all_bugs()}
    return "<br>".join(f"{name}: {value:,}" for name, value in part["figures"].items() if name not in names)


def _bugs(tries: Mapping[str, int]) -> Iterator[str]:
    yield "| seeded bug | what the broken build does | caught by | in run |\n|---|---|---|---:|\n"
    for bug in all_bugs():
        if bug.name in tries:
            test = bug.test.rpartition("::")[2].replace("_", " ").removeprefix("test ")
            patch = f"../tests/reliability/seeded/{bug.name}.patch"
            yield f"| [{bug.name}]({patch}) | {bug.breaks} | {test} | {tries[bug.name]} |\n"
    yield "\n"


if __name__ == "__main__":
    recorded = Path(sys.argv[1]).read_text(encoding="utf-8")
    RUN.parent.mkdir(exist_ok=True)
    RUN.write_text(recorded, encoding="utf-8")
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), json.loads(recorded)), encoding="utf-8")
