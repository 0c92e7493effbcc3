"""What is appended: real incidents where there are some, generated facts of the same shape elsewhere.

Every fact belongs to a case (`payload.case.id`), which makes contexts. The facts of a source come in one fixed order;
after the last one they begin again as cases of another name.
"""

import gzip
import json
import os
import random
import zlib
from pathlib import Path
from typing import Final, NamedTuple

import orjson

VARIABLE: Final = "FACTSTR_BENCH_DATA"
SHAPE: Final = '{"event_type": "…", "payload": {"case": {"id": "…"}, …}}'
"""Of every line of the file that the variable names. The text between the quotes is of any kind, and so is the rest."""

_INCIDENTS: Final = Path(__file__).parents[2] / "shared" / "data" / "incidents.ndjson.gz"
_CASE: Final = "\ue000case\ue000"
"""Stands for the case in a template. A private character, so that no data holds it."""

COMMON_TYPE: Final = "Accepted"
_COMMON: Final = {"impact": "Medium"}
COMMON_MEMBER: Final = orjson.dumps(_COMMON).decode()[1:-1]
"""Both hold for more than half of the incidents."""


class FactsUnusable(Exception):
    """The named file does not hold facts as they are needed. Says where, and what is wrong."""


class Fact(NamedTuple):
    """A fact as it is sent, and as it must come back."""

    event_type: str
    payload: str


class _Template(NamedTuple):
    event_type: str
    case: str
    before: str
    after: str
    is_common: bool
    """Whether it holds `COMMON_MEMBER`."""


class FactSource:
    """Any number of facts, the same ones in every run."""

    def __init__(self, origin: str, templates: list[_Template]) -> None:
        """`templates` are not empty."""
        self.origin = origin
        self._templates = templates
        common = [number for number, template in enumerate(templates) if template.is_common]
        self.has_common_member = bool(common)
        """Whether any fact holds `COMMON_MEMBER`. Where none does, nothing can be asked about it."""
        self._first_common = common[0] if common else 0

    def __len__(self) -> int:
        """After so many facts they begin again, as another lap."""
        return len(self._templates)

    def fact(self, number: int) -> Fact:
        lap, index = divmod(number, len(self._templates))
        event_type, case, before, after, _ = self._templates[index]
        return Fact(event_type, f"{before}{case}/{lap}{after}" if lap else f"{before}{case}{after}")

    def fact_of_case(self, number: int, case: str) -> Fact:
        """Number 0 holds the common member."""
        template = self._templates[(self._first_common + number) % len(self._templates)]
        return Fact(COMMON_TYPE, f"{template.before}{case}{template.after}")


def fact_source() -> FactSource:
    """The file that the variable names, or the incidents beside the repository, or generated facts.

    Raises FactsUnusable.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else _INCIDENTS
    if named or path.is_file():
        return FactSource(path.name, _read(path))
    incidents = generated_incidents(65_536)
    return FactSource("generated", [_template(incident) for incident in incidents])


def prepared_facts(events: int) -> int:
    """How many facts are encoded for appends of so many events before they are needed. Then they begin again."""
    return 16_384 if events == 1 else 65_536 // events * events


def case_predicate(case: str) -> str:
    """The payload predicate of one case."""
    return f'{{"case":{{"id":{json.dumps(case)}}}}}'


def generated_incidents(count: int, seed: int = 2013) -> list[dict[str, object]]:
    """Facts of the incidents' shape: as many members, of the same kinds, about as common and as long."""
    chance = random.Random(seed)
    cases = [f"1-{chance.randrange(10**8, 10**9)}" for _ in range(max(1, count // 9))]

    def one_of(prefix: str, different: int) -> str:
        """A few values are common and most are rare, as in life."""
        return f"{prefix}{min(different - 1, int(chance.paretovariate(0.6)) - 1)}"

    def incident(number: int) -> dict[str, object]:
        day, second = divmod(number * 480, 86_400)
        return {
            "event_type": chance.choices(("Accepted", "Completed", "Queued"), (61, 21, 18))[0],
            "payload": {
                "case": {"id": cases[min(len(cases) - 1, int(chance.triangular(0, 400, 200)) + number // 9)]},
                "org_group": one_of("G", 649) + " 2nd",
                "resource country": one_of("Country ", 32),
                "organization country": one_of("c", 23),
                "org_resource": one_of("Person ", 1440),
                "organization involved": one_of("Org line C", 25),
                "org_role": one_of("V3_", 23),
                "impact": chance.choices(("Medium", "Low", "High"), (54, 42, 4))[0],
                "product": one_of("PROD", 704),
                "lifecycle_transition": chance.choices(
                    ("In Progress", "Awaiting Assignment", "Resolved", "Closed"), (50, 20, 15, 15)
                )[0],
                "at": f"20{10 + day // 336:02}-{1 + day % 336 // 28:02}-{1 + day % 28:02}T"
                f"{second // 3600:02}:{second // 60 % 60:02}:{chance.randrange(60):02}+02:00",
            },
        }

    return [incident(number) for number in range(count)]


def _read(path: Path) -> list[_Template]:
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise FactsUnusable(f"{path}: {error}") from error
    templates = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                templates.append(_template(orjson.loads(line)))
            except ValueError as error:
                raise FactsUnusable(f"{path}:{number}: {error}") from error
    if not templates:
        raise FactsUnusable(f"{path}: there are no facts in it")
    return templates


def _template(line: object) -> _Template:
    """Raises ValueError for what is no fact that belongs to a case."""
    match line:
        case {"event_type": str(event_type), "payload": {"case": {"id": str(case), **others}} as payload}:
            marked = {**payload, "case": {**others, "id": _CASE}}
        case _:
            raise ValueError(f"a line must be of the form {SHAPE}")
    before, _, after = orjson.dumps(marked).decode().partition(_CASE)
    if _CASE in after:
        raise ValueError(f"a payload must not hold {_CASE!a}")
    # What is put between is a case's name in JSON, without the quotes.
    name = json.dumps(case, ensure_ascii=False)[1:-1]
    return _Template(event_type, name, before, after, _COMMON.items() <= payload.items())
