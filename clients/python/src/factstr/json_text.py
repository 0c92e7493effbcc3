"""Owns the way between Python values and JSON texts, without losing a digit.

A payload is stored byte for byte, so its text is made exactly once: here, when an event or a predicate is made.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeAlias

JsonValue: TypeAlias = (
    Mapping[str, "JsonValue"] | Sequence["JsonValue"] | str | int | float | Decimal | bool | None
)
"""What a payload or predicate may be given as. Integers and Decimals keep every digit; a float is written as `repr`."""


class JsonText(str):
    """A JSON text that is sent as it is, byte for byte, instead of a Python value."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show it as the expression that makes it."""
        return f"JsonText({super().__repr__()})"


class _HoldsDecimal(Exception):
    pass


def _plain(value: object) -> object:
    """Turn what the C encoder does not know into what it knows, or say that it cannot be."""
    if isinstance(value, Decimal):
        raise _HoldsDecimal
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value: {value!r:.64}")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def to_json_text(value: JsonValue) -> str:
    """Return the compact JSON text of a value; a JsonText is returned as it is.

    Raises ValueError for NaN, Infinity, a value inside itself, and nesting beyond Python's recursion; TypeError for
    a value that JSON cannot say.
    """
    if isinstance(value, JsonText):
        return str(value)
    try:
        try:
            return _ENCODER.encode(value)
        except _HoldsDecimal:
            # The C encoder can only write a Decimal as a float or a string; the slow way keeps its digits.
            return _exact_text(value)
    except RecursionError:
        raise ValueError(
            "the value nests too deeply, or holds itself; at most 64 levels are allowed"
        ) from None


def _exact_text(value: object) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not a JSON number")
        return str(value)
    if isinstance(value, Mapping):
        members = (f"{_key_text(key)}:{_exact_text(member)}" for key, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return "[" + ",".join(map(_exact_text, value)) + "]"
    return _ENCODER.encode(value)


def _key_text(key: object) -> str:
    # The C encoder's own rule for keys, so that a Decimal elsewhere in the payload changes nothing.
    return _ENCODER.encode({key: 0})[1:-3]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Reads JSON as RFC 8259 has it, which knows no NaN and no Infinity."""


def parse_json(text: str) -> Any:
    """Return the Python value of a JSON text: integers of any size exactly, other numbers as floats."""
    return DECODER.decode(text)
