"""JSON texts as they are written in the wild and beyond: odd numbers, escapes, duplicate keys, whitespace.

Values repeat often, so that a predicate has a chance to match a payload that was drawn beside it.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

WHITESPACE = st.sampled_from(["", "", "", " ", "\n", "\t", " \r\n "])

ODD_NUMBERS = (
    *("0", "-0", "0.0", "-0.0", "0e0", "0E-400", "0e9999999999", "1", "1.0", "1e0", "1E0", "10e-1", "0.1e1"),
    *(
        "-1",
        "2",
        "10",
        "1e1",
        "100",
        "1e2",
        "1.5",
        "15e-1",
        "1.50",
        "0.1",
        "0.10",
        "1e-1",
        "0.1000000000000000055",
    ),
    *("0.3", "0.30000000000000004", "9007199254740992", "9007199254740993", "9007199254740992.0"),
    *("9007199254740992.5", "9223372036854775807", "9223372036854775808", "-9223372036854775809"),
    *(
        "18446744073709551615",
        "18446744073709551616",
        "1e17",
        "100000000000000000",
        "1e18",
        "1000000000000000000",
    ),
    *("999999999999999999", "1e300", "1e-300", "123456789012345678901234567890"),
)

digits = st.integers(0, 10**25).map(str)
written_numbers = st.builds(
    lambda minus, whole, fraction, exponent: f"{minus}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.one_of(st.sampled_from(["0", "1", "10"]), digits),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,30}", fullmatch=True)),
    st.one_of(st.just(""), st.from_regex(r"[eE][+-]?[0-9]{1,2}", fullmatch=True)),
)
numbers = st.one_of(st.sampled_from(ODD_NUMBERS), written_numbers)

# No U+0000 and no surrogates: those are not valid.
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
plain_strings = st.one_of(
    st.sampled_from(
        ["", "a", "b", "k", "id", "é", "e\u0301", "1", "true", "null", "*", ".", "overflow", "\U0001f600"]
    ),
    st.text(characters, max_size=6),
)


def escaped(text: str) -> str:
    """The text with every character as an escape."""
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'


def short_escapes(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("/", "\\/")


strings = st.builds(
    lambda text, write: write(text),
    plain_strings,
    st.sampled_from([json.dumps, short_escapes, escaped]),
)
scalars = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, strings)


@st.composite
def arrays(draw: st.DrawFn, elements: st.SearchStrategy[str]) -> str:
    inner = draw(st.lists(st.tuples(WHITESPACE, elements, WHITESPACE).map("".join), max_size=4))
    return f"[{','.join(inner) or draw(WHITESPACE)}]"


@st.composite
def objects(draw: st.DrawFn, members: st.SearchStrategy[str]) -> str:
    """With duplicate keys now and then."""
    keys = st.one_of(st.sampled_from(['"a"', '"b"', '"\\u0061"', '"id"']), strings)
    pairs = draw(st.lists(st.tuples(WHITESPACE, keys, WHITESPACE, members, WHITESPACE), max_size=4))
    inner = ",".join(f"{before}{key}{gap}:{member}{after}" for before, key, gap, member, after in pairs)
    return "{" + (inner or draw(WHITESPACE)) + "}"


texts: st.SearchStrategy[str] = st.builds(
    lambda before, text, after: before + text + after,
    WHITESPACE,
    st.recursive(scalars, lambda inner: arrays(inner) | objects(inner), max_leaves=12),
    WHITESPACE,
)


@st.composite
def predicates_of(draw: st.DrawFn, value: Any) -> Any:
    """A value that `value` contains: some keys, some elements in any order and number, numbers as they are."""
    if isinstance(value, dict):
        keys = draw(st.lists(st.sampled_from(sorted(value)), unique=True, max_size=3)) if value else []
        return {key: draw(predicates_of(value[key])) for key in keys}
    if isinstance(value, list):
        chosen = draw(st.lists(st.sampled_from(range(len(value))), max_size=3)) if value else []
        return [draw(predicates_of(value[index])) for index in chosen]
    return value


def written_otherwise(chance: Random, value: Any) -> str:
    """Another text of the same meaning as a predicate: keys and elements shuffled, elements repeated."""
    if isinstance(value, dict):
        members = [
            f"{json.dumps(key)} : {written_otherwise(chance, value[key])}" for key in shuffled(chance, value)
        ]
        return "{" + " , ".join(members) + "}"
    if isinstance(value, list):
        elements = shuffled(chance, value)
        repeated = elements + elements[: chance.randint(0, len(elements))]
        return "[" + ", ".join(written_otherwise(chance, element) for element in repeated) + "]"
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        # Written out, the others would have too many digits.
        forms = [str(value), f"{value:e}", f"{value:f}" if abs(exponent) < 60 else str(value)]
        return chance.choice(forms).replace("+", "")
    return json.dumps(value)


def shuffled(chance: Random, values: Iterable[T]) -> list[T]:
    """In any order."""
    order = list(values)
    chance.shuffle(order)
    return order
