"""Payloads and predicates: what an index proposes and the matcher decides, beside the naive answer.

Every input is valid: its bytes choose facts and a query, from few values that meet each other often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar
from unittest.mock import patch

from factstr_server.contract import matching, terms
from factstr_server.contract.append import prepare_append
from factstr_server.contract.validation import Violations
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.stores.fact_index import FactIndex
from tests.conformance.facts import Filter, NewFact, Query
from tests.conformance.service_values import checked
from tests.stores.list_log import selects

MAX_BYTES: Final = 256

T = TypeVar("T")

_TYPES: Final = ("a", "b", "c")
_WANTED_TYPES: Final = (None, None, None, ("a",), ("a", "b"), ("c", "c", "b"), ())
_SCALARS: Final = (
    ("null", '"null"', "false", "0", "-0", '""'),
    ("true", '"true"', "1", '"1"', "1.0", "1e0"),
    ('"a"', '"\\u0061"', '"*"', '"."', '"é"', '"e\u0301"'),
    ("0.1", "0.1000000000000000055", "9007199254740993", "9007199254740992", "9007199254740993.0", "1e300"),
)
"""Those of a group are not the same, or are the same in another form."""

_KEYS: Final = ('"a"', '"b"', '"\\u0061"', '""', '"*"', '"."', '"é"', '"e\u0301"')


def check(data: bytes) -> None:
    drawn = Drawn(data)
    # Short inputs reach what takes thousands of leaves or dozens of elements, where few are taken for many.
    most_terms, short = drawn.of(((2_000, 32), (12, 2), (7, 1), (3, 0)))
    values = [drawn.value() for _ in range(1 + drawn.number(4))]
    facts = [NewFact(drawn.of(_TYPES), written(value)) for value in values]
    query = Query(tuple(drawn.filter(values) for _ in range(drawn.of((1, 1, 1, 2, 2, 0)))))
    with (
        patch.object(terms, "MAX_TERMS_PER_FACT", most_terms),
        patch.object(matching, "_SHORT_ARRAY", short),
    ):
        check_answers(facts, query, first=drawn.number(4))


@dataclass(frozen=True)
class Object:
    """Keys may repeat."""

    members: tuple[tuple[str, "Value"], ...]


Value: TypeAlias = "str | list[Value] | Object"
"""A scalar is its text."""


class Drawn:
    """What bytes choose, one byte a choice; the first of everything when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def number(self, below: int) -> int:
        return next(self._bytes, 0) % below

    def of(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices))]

    def value(self, depth: int = 0) -> Value:
        kind = self.of("aoaoaons" if depth == 0 else "sssssnao" if depth < 6 else "sn")
        if kind == "a":
            return [self.value(depth + 1) for _ in range(self.number(5))]
        if kind == "o":
            return Object(tuple((self.of(_KEYS), self.value(depth + 1)) for _ in range(self.number(5))))
        if kind == "n":
            return f"{self.number(30)}.{self.number(12)}e{self.number(5) - 2}"
        return self.of(self.of(_SCALARS))

    def filter(self, values: Sequence[Value]) -> Filter:
        """Its predicates are parts of these values, nearly, or anything."""
        count = self.of((1, 1, 2, 2, 3, 4, 0, None))
        predicates = (
            self.part(self.of(values)) if self.number(4) else self.value() for _ in range(count or 0)
        )
        return Filter(self.of(_WANTED_TYPES), None if count is None else tuple(map(written, predicates)))

    def part(self, whole: Value) -> Value:
        if isinstance(whole, Object):
            return Object(tuple((key, self.part(member)) for key, member in whole.members if self.number(3)))
        if isinstance(whole, list):
            return [self.part(self.of(whole)) for _ in range(self.number(4)) if whole]
        return whole if self.number(4) else self.of(next((g for g in _SCALARS if whole in g), _SCALARS[0]))


def written(value: Value) -> str:
    if isinstance(value, Object):
        return "{" + ",".join(f"{key}:{written(member)}" for key, member in value.members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return value


def check_answers(facts: list[NewFact], query: Query, first: int) -> None:
    """`first` facts are indexed before the first lookup, the others after it."""
    expected = [number for number, fact in enumerate(facts, 1) if selects(query, fact)]
    said = f"{facts} and {query.filters}: {expected}"
    asked, events = checked(query), prepare_append(facts, Violations()).events
    index = FactIndex()
    index.add_all(events[:first])
    assert index.version(asked) == max((n for n in expected if n <= first), default=None), (
        f"version of {said}"
    )
    index.add_all(events[first:])
    head = index.head
    for after in range(head + 1):
        version = max((number for number in expected if number > after), default=None)
        assert index.version(asked, after) == version, f"version after {after} of {said}"
    for descending in (False, True):
        proposed = list(index.candidates(asked, 0, head + 1, descending=descending))
        assert proposed == sorted(set(proposed), reverse=descending), f"candidates {proposed} of {said}"
        found = sorted(number for number in proposed if index.matches(asked, number))
        assert found == expected, f"found {found} of {said}"
    seat = Dispatcher().take_seat(asked)
    for number, event in enumerate(events, 1):
        matches = index.matches(asked, number)
        assert matches == (number in expected), f"{number} of {said}"
        if matches:
            assert asked.may_match(event.event_type, event.terms), f"may not match {number} of {said}"
            woken = asked.everything or not set(seat.keys).isdisjoint(event.terms.split())
            assert woken, f"a parked stream sleeps on at {number} of {said}"
