"""Validity and containment, written again from the contract's words alone: slowly, and without the service's code.

Numbers are Decimals, made from their text; objects and arrays are the standard library's.
"""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn


def value_of(text: str) -> Any:
    """The exact value of a JSON text; the last duplicate key wins."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", Decimal: "number", str: "string", list: "array", dict: "object"}[type(value)]


def matches(payload: Any, predicate: Any) -> bool:
    """Whether the payload's value contains the predicate's."""
    if kind(payload) != kind(predicate):
        return False
    if isinstance(predicate, dict):
        return all(key in payload and matches(payload[key], predicate[key]) for key in predicate)
    if isinstance(predicate, list):
        return all([element for element in payload if matches(element, wanted)] for wanted in predicate)
    return bool(payload == predicate)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON value, numbers by their exact decimal values."""
    if kind(one) != kind(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def as_decimals(value: Any) -> Any:
    """A value with exact numbers of any kind in these terms."""
    if isinstance(value, dict):
        return {key: as_decimals(member) for key, member in value.items()}
    if isinstance(value, list):
        return [as_decimals(element) for element in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


def values_in(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for member in value.values():
            yield from values_in(member)
    if isinstance(value, list):
        for element in value:
            yield from values_in(element)


def meaning(value: Any) -> object:
    """Equal exactly for predicates of the same meaning: no order, no multiplicity, numbers by their decimal values."""
    if isinstance(value, dict):
        return "object", frozenset((key, meaning(member)) for key, member in value.items())
    if isinstance(value, list):
        return "array", frozenset(map(meaning, value))
    return kind(value), value


class Invalid(ValueError):
    """No JSON text, or beyond a limit."""


class _Written(str):
    """A number as it was written."""

    __slots__ = ()


class _Members(list[Any]):
    """An object's members, all of them and in order."""


def valid_value(text: str) -> Any:
    """The value of a payload or predicate that the contract takes. Raises Invalid for others."""
    try:
        everything = json.loads(
            text,
            parse_int=_Written,
            parse_float=_Written,
            parse_constant=_refuse,
            object_pairs_hook=_Members,
        )
    except (ValueError, RecursionError) as error:
        raise Invalid(str(error)) from None
    for string in _strings(everything):
        if "\0" in string or any("\ud800" <= character <= "\udfff" for character in string):
            raise Invalid(f"{string!r} holds what no store takes")
    return _within_limits(everything, 0)


def _refuse(name: str) -> NoReturn:
    raise Invalid(f"{name} is no number")


def _strings(written: Any) -> Iterator[str]:
    """Also those that a later duplicate key replaces."""
    if isinstance(written, _Members):
        for key, member in written:
            yield key
            yield from _strings(member)
    elif isinstance(written, list):
        for element in written:
            yield from _strings(element)
    elif isinstance(written, str) and not isinstance(written, _Written):
        yield written


def _within_limits(written: Any, depth: int) -> Any:
    """What a later duplicate key replaces is no part of the value."""
    if isinstance(written, list) and depth == 64:
        raise Invalid("nested more than 64 levels deep")
    if isinstance(written, _Members):
        return {key: _within_limits(member, depth + 1) for key, member in dict(written).items()}
    if isinstance(written, list):
        return [_within_limits(element, depth + 1) for element in written]
    return _number(written) if isinstance(written, _Written) else written


def _number(written: str) -> Decimal:
    if sum(map(str.isdigit, written)) > 100:
        raise Invalid(f"{written} has more than 100 digits")
    if not any(digit in "123456789" for digit in written.lower().split("e")[0]):
        return Decimal(0)
    try:
        number = Decimal(written)
    except InvalidOperation:
        raise Invalid(f"{written} is beyond Decimal") from None
    if not Decimal("1e-300") <= number.copy_abs() <= Decimal("1e300"):
        raise Invalid(f"{written} is beyond 1e300, or below 1e-300")
    return number
