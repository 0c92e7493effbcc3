"""Containment, written again from the contract's words alone: slowly, and without the service's code.

Numbers are Decimals, made from their text; objects and arrays are the standard library's.
"""

import json
from decimal import Decimal
from typing import Any


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
