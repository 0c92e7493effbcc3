"""The figures of a run as they stand in `docs/reliability.md`, between two marks.

`python -m tests.reliability.page RUN.json` puts them there, and keeps them beside the page. A run of some parts
replaces what those had found before.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.reliability.parts import PARTS
from tests.reliability.seeded.bugs import ROOT, all_bugs
from tests.reliability.seeded.part import PART as SEEDED

PAGE: Final = ROOT / "docs" / "reliability.md"
RUN: Final = ROOT / "docs" / "reliability" / "run.json"
Result: TypeAlias = Mapping[str, Any]
"""What the command says of a part."""

_BEGIN: Final = "<!-- Made by tests/reliability/page.py. -->\n"
_END: Final = "<!-- End of what is made. -->\n"


def with_figures(page: str, results: Sequence[Result]) -> str:
    """The page with what the parts have found."""
    before, _, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, f"{PAGE} has lost its marks"
    return f"{before}{_BEGIN}{''.join(_figures(results))}{_END}{after}"


def merged(known: Sequence[Result], newer: Sequence[Result]) -> list[Result]:
    """Of each part the newest, in the order of the lab."""
    of = {each["part"]: each for each in (*known, *newer)}
    return [of[part.name] for part in PARTS if part.name in of]


def _figures(results: Sequence[Result]) -> Iterator[str]:
    yield from _in_short(results)
    yield "\n| part | tried and found | when |\n|---|---|---|\n"
    for part in results:
        when = f"{part['date']}, `{part['commit']}`, {_minutes(part['seconds'])}, seed {part['seed']}"
        preset = "" if part["preset"] == "full" else f" ({part['preset']} only)"
        yield f"| **{part['title']}**{preset} | {_found(part)} | {when} |\n"
    yield "\n"
    for plot in sorted(RUN.parent.glob("*.png")):
        yield f"![{plot.stem.replace('-', ', ')}]({RUN.parent.name}/{plot.name})\n\n"
    for part in results:
        if part["part"] == SEEDED.name and "figures" in part:
            yield from _bugs(part["figures"])


def _in_short(results: Sequence[Result]) -> Iterator[str]:
    """Where every part has kept its promise."""
    if any("error" in part for part in results):
        return

    def total(words: str) -> str:
        found = (part["figures"].items() for part in results)
        return f"{sum(value for figures in found for name, value in figures if words in name):,}"

    yield (
        f"\n**{total('appends acknowledged')} appends were acknowledged. None of them was lost, repeated or reordered, "
        f"and none was invented**, through {total('SIGKILL')} kills, {total('losses of power')} losses of power, "
        f"{total('disk calls')} calls of a disk that failed, were cut short or stalled, and {total('packets lost')} "
        f"lost packets. {total(' tried')} inputs that nobody had thought of got the right answer. "
        f"{total('seeded bugs, all caught')} broken builds were caught.\n"
    )


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds} s"


def _found(part: Result) -> str:
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


def main(newer: Path) -> None:
    known = json.loads(RUN.read_text(encoding="utf-8")) if RUN.exists() else []
    results = merged(known, json.loads(newer.read_text(encoding="utf-8")))
    RUN.parent.mkdir(exist_ok=True)
    RUN.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
