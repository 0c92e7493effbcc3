"""The cases: read from clients/conformance/*.yaml, and checked to be what can be run.

Beyond YAML they may say `!repeat [TEXT, N]`, `!times [VALUE, N]` (a list), and of what is expected `!match REGEX`,
`!length N` and `!sequence [FIRST, LAST]` (records with these sequence numbers and all between, up or down).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.architecture.repository import ROOT

FOLDER: Final = ROOT / "clients" / "conformance"
STORES: Final = ("memory", "sqlite", "postgresql")

OPERATIONS: Final = (
    "connect",
    "close",
    "append",
    "append_if",
    "query",
    "decide",
    "stream",
    "durable",
    "next",
    "until_caught_up",
    "acknowledge",
    "close_stream",
    "project",
)
"""What an adapter is told to do."""

ACTIONS: Final = (
    "cancel",
    "join",
    "server",
    "faults",
    "release",
    "asked",
    "arrived",
    "last_after",
    "last_request",
    "same_key",
    "reset",
    "cursor",
)
"""What the runner does itself."""

_MODIFIERS: Final = {"expect", "error", "save", "as"}


@dataclass(frozen=True)
class Match:
    pattern: str


@dataclass(frozen=True)
class Length:
    number: int


@dataclass(frozen=True)
class Step:
    """One thing that is done, and what is expected of it."""

    do: str
    what: Any
    expect: Any
    error: Any
    save: dict[str, str]
    name: str | None
    """It is only begun; `join` waits for it."""


@dataclass(frozen=True)
class Case:
    """One file's law for all clients, on all stores unless it names some."""

    feature: str
    title: str
    steps: tuple[Step, ...]
    stores: tuple[str, ...] = STORES
    serve: dict[str, Any] = field(default_factory=dict)
    connect: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.feature}-{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}"

    def does(self, *what: str) -> bool:
        return any(step.do in what for step in self.steps)


class _Loader(yaml.SafeLoader):
    """SafeLoader, and the tags of cases. A key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise ValueError(f"line {node.start_mark.line + 1}: a key stands twice")
        return super().construct_mapping(node, deep=True)


def _repeat(loader: _Loader, node: Any) -> str:
    text, times = loader.construct_sequence(node)
    return str(text) * int(times)


def _times(loader: _Loader, node: Any) -> list[Any]:
    value, times = loader.construct_sequence(node, deep=True)
    return [value] * int(times)


def _sequence(loader: _Loader, node: Any) -> list[Any]:
    first, last = loader.construct_sequence(node)
    step = 1 if first <= last else -1
    return [{"sequence_number": number} for number in range(first, last + step, step)]


for tag, construct in (
    ("!repeat", _repeat),
    ("!times", _times),
    ("!sequence", _sequence),
    ("!match", lambda loader, node: Match(str(loader.construct_scalar(node)))),
    ("!length", lambda loader, node: Length(int(loader.construct_scalar(node)))),
):
    _Loader.add_constructor(tag, construct)


@cache
def cases() -> tuple[Case, ...]:
    """All of them, by file and in the order written."""
    return tuple(case for path in sorted(FOLDER.glob("*.yaml")) for case in _cases(path))


def _cases(path: Path) -> Iterator[Case]:
    for written in yaml.load(path.read_text(encoding="utf-8"), _Loader):
        unknown = set(written) - {"case", "steps", "stores", "serve", "connect"}
        assert not unknown, f"{path.name}: {written['case']}: {unknown}"
        yield Case(
            feature=path.stem,
            title=written["case"],
            steps=tuple(_step(step, f"{path.name}: {written['case']}") for step in written["steps"]),
            stores=tuple(written.get("stores", STORES)),
            serve=written.get("serve", {}),
            connect=written.get("connect", {}),
        )


def _step(written: dict[str, Any], where: str) -> Step:
    actions = set(written) - _MODIFIERS
    (do,) = actions if len(actions) == 1 else [None]
    assert do in OPERATIONS + ACTIONS, f"{where}: {written}"
    assert not ("expect" in written and "error" in written), f"{where}: {written}"
    return Step(
        do=do,
        what=written[do],
        expect=written.get("expect"),
        error=written.get("error"),
        save=written.get("save", {}),
        name=written.get("as"),
    )
