"""What is written into a store that is kept: a bit of everything that a log can hold, small enough to be kept."""

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.conformance.driver import EVERYTHING, Filter, NewFact, Query, of_type, where
from tests.conformance.streams import AT_HEAD, FROM_THE_BEGINNING, Start
from tests.copying.content import DEEP, ODD_PAYLOADS, odd_metadata, some_facts

LONG_TYPE: Final = "ünï \U0001f600 ~&|()'\\".ljust(256, "t")
LONG_KEY: Final = "key é \U0001f600 '\\".ljust(200, "k")
LAST_KEY: Final = "the last one"
LONG_NAME: Final = "stream é \U0001f600 %'\\".ljust(200, "s")

_NUMBERS: Final = (
    *("0", "-0", "1", "1.0", "1e0", "10E-1", "-7", "0.1", "0.1000000000000000055", "1e-300", "-1E+300"),
    *("9007199254740992", "18446744073709551616", "0.000", "3." + "14159" * 19 + "1415"),
)
_TEXTS: Final = ('"e\\u0301"', '"\u00e9"', '"a\\"b\\\\c\\/\\n"', '"\U0010ffff\ufffe"', '"true"', '"1"')
_OBJECTS: Final = (
    '{"a":1,"b":{"c":[1,2,{"d":null}]}}',
    '{"a":2,"a":1}',
    '{"a.b":1,"a":{"b":1},"*":[[]],"\\u0022":"\\\\"}',
    '[[1,[2,[3]]],{"a":[]},"x",null,false]',
    '{"rows":[{"x":1,"y":2},{"x":2,"y":1}],"n":1.50}',
    '{"long":[' + ",".join(map(str, range(300))) + "]}",
)
LARGE: Final = '{"n":1,"large":"' + "x" * 90_000 + '"}'

QUERIES: Final = (
    EVERYTHING,
    of_type("a"),
    of_type("b", LONG_TYPE),
    of_type("none"),
    where("{}"),
    where("[]"),
    where('{"n":1}'),
    where('{"n":1}', '{"n":2.0}', "null"),
    where('{"n":15e-1}', '{"a":1}'),
    where('{"rows":[{"x":1,"y":1}]}'),
    where('{"rows":[{"x":2}]}'),
    where('{"k7":7}'),
    where('{"k7":8}'),
    where(DEEP),
    where('"é"', '"e\u0301"', "1", "0.1"),
    Query((Filter(("a",), ('{"n":1}', "[]")), Filter(("c",)), Filter((), ("{}",)), Filter(None, ()))),
    Query((Filter(("b",), ()),)),
)
"""Contexts of few facts, of many, and of none."""


class Append(NamedTuple):
    """A request; what a context's version must be is found out first."""

    facts: tuple[NewFact, ...]
    key: str = ""
    context: Query | None = None


def in_turn(chance: random.Random) -> Iterator[Append]:
    """One after the other."""
    for payload in (*ODD_PAYLOADS, *_NUMBERS, *_TEXTS, *_OBJECTS):
        yield Append((NewFact("odd", payload),))
    yield Append(
        (NewFact(LONG_TYPE, '{"n":1}', odd_metadata()), NewFact(LONG_TYPE, metadata={"k" * 128: ""})),
        LONG_KEY,
    )
    yield Append((NewFact("a", LARGE),), "large")
    yield Append((NewFact("a", LARGE), NewFact("b", LARGE), NewFact("a", LARGE)))
    for context in QUERIES:
        yield Append((NewFact("decided", '{"n":3}'),), f"decided on {QUERIES.index(context)}", context)
    yield Append((NewFact("a", '{"n":1}'), NewFact("decided")), context=QUERIES[6])
    for size in (1, 2, 300, 3):
        yield Append(tuple(some_facts(chance, size)), f"batch of {size}")
        yield Append(tuple(some_facts(chance, size)))


def at_once(chance: random.Random) -> Iterator[Append]:
    """All at the same time, so that they share commits."""
    for number in range(60):
        facts = tuple(some_facts(chance, chance.choice((1, 1, 2, 5))))
        yield Append(facts, chance.choice(("", f"at once {number}")))


def the_last(chance: random.Random) -> Append:
    """The log's end is a batch of several."""
    return Append(tuple(some_facts(chance, 4)), LAST_KEY)


class Consumption(NamedTuple):
    """A durable stream, and how many of the batches delivered are acknowledged, one after the other."""

    name: str
    query: Query
    acknowledged: int
    start: Start = FROM_THE_BEGINNING
    reset_to: int | None = None


CONSUMPTIONS: Final = (
    Consumption("all, from the beginning", EVERYTHING, 0),
    Consumption("all, on the way", EVERYTHING, 40),
    Consumption(LONG_NAME, QUERIES[6], 3),
    Consumption("filtered", QUERIES[15], 5),
    Consumption("after a fact of a batch", of_type("a", "b"), 2, start=100),
    Consumption("at the head", EVERYTHING, 0, start=AT_HEAD),
    Consumption("reset", of_type("odd"), 7, reset_to=3),
    Consumption("matches nothing", QUERIES[16], 0),
)
HELD: Final = Consumption("held when its server went", EVERYTHING, 12)
"""Its consumer is still there when the server ends."""
GONE: Final = "deleted"
