"""JSON texts as exact values.

Numbers are their exact decimal values (`int`, or `Decimal` where there is a fraction or exponent), never floats.
Two parsers agree here: orjson, fast, wherever its answer is provably exact, and the standard library's with number
hooks for the rest. The slow one is the arbiter: whatever orjson refuses or rounds is asked of it.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn, TypeAlias, TypeVar

import orjson

from factstr_server.contract.errors import quoted
from factstr_server.contract.limits import MAX_JSON_NESTING, MAX_NUMBER_DIGITS, MAX_NUMBER_EXPONENT

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
"""An exact JSON value."""

LooseJson: TypeAlias = object
"""As `Json`, but it may hold floats: a float says that the exact value must be asked of `parse_exact`."""

T = TypeVar("T")

_TOO_DEEP: Final = f"is nested more than {MAX_JSON_NESTING} levels deep; flatten it"
_NUL_ESCAPE: Final = b"\\u0000"
_LARGEST: Final = Decimal(f"1e{MAX_NUMBER_EXPONENT}")


class InvalidJson(ValueError):
    """Not a JSON text within the limits. The message completes a sentence that begins with the field's path."""


class InexactNumber(Exception):
    """A loose value holds a float where its exact value matters."""


class _InvalidNumber(str):
    """A number literal outside the limits. Only a defect if no later duplicate key replaces it."""

    __slots__ = ()


def parse_loose(text: bytes) -> LooseJson:
    """The value of a text, quickly; numbers that orjson may have rounded are floats. Raises InvalidJson.

    An answer without floats is exact and needs no further check but nesting.
    """
    if _NUL_ESCAPE in text:
        return parse_exact(text)
    try:
        value: LooseJson = orjson.loads(text)
    except orjson.JSONDecodeError:
        return parse_exact(text)
    return value


def parse(text: bytes) -> Json:
    """As `parse_exact`, quickly where orjson's answer is provably the same."""
    value = parse_loose(text)
    return value if _is_exact(value, 0) else parse_exact(text)  # type: ignore[return-value]


def parsed_exactly_where_needed(text: bytes, work: Callable[[LooseJson], T]) -> T:
    """The work's answer on a text's value, parsed quickly first, and exactly where the work raises InexactNumber."""
    try:
        return work(parse_loose(text))
    except InexactNumber:
        return work(parse_exact(text))


def parse_exact(text: bytes) -> Json:
    """The exact value of a text. Raises InvalidJson with what is wrong and what would be right."""
    decoded = text.decode()
    try:
        value: Json = _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        near = quoted(decoded[max(0, error.pos - 16) : error.pos + 16])
        problem = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
        raise InvalidJson(
            f"is not a JSON text: {problem} at line {error.lineno}, column {error.colno}, near {near}; "
            "send one JSON value (RFC 8259)"
        ) from None
    except RecursionError:
        raise InvalidJson(_TOO_DEEP) from None
    _check_texts(value)
    _check(value, 0)
    return value


def too_deep() -> InvalidJson:
    return InvalidJson(_TOO_DEEP)


def canonical_number(number: int | Decimal) -> str:
    """One text per exact decimal value: `1`, `1.0` and `1e0` are all `1`."""
    if isinstance(number, int) and -(10**18) < number < 10**18:
        return str(number)
    sign, digits, exponent = Decimal(number).as_tuple()
    assert isinstance(exponent, int)  # NaN and Infinity are not JSON numbers
    text = "".join(map(str, digits))
    significant = text.rstrip("0")
    exponent += len(text) - len(significant)
    if not significant:
        return "0"
    minus = "-" if sign else ""
    if exponent >= 0 and len(significant) + exponent <= 18:
        return f"{minus}{significant}{'0' * exponent}"
    return f"{minus}{significant}e{exponent}"


def canonical_text(value: Json) -> str:
    """One text per meaning of a predicate: keys sorted, arrays sorted and de-duplicated, numbers canonical.

    Arrays may be reordered because a predicate's array says which elements must occur, not where or how often.
    """
    if isinstance(value, dict):
        members = (f"{json.dumps(key)}:{canonical_text(value[key])}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted({canonical_text(element) for element in value})) + "]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return canonical_number(value)
    return json.dumps(value)


def count_nodes(value: Json) -> int:
    """How many objects, arrays and scalars a value is made of."""
    if isinstance(value, dict):
        return 1 + sum(map(count_nodes, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(count_nodes, value))
    return 1


def holds_array(value: Json) -> bool:
    """Whether there is an array anywhere in a value."""
    return isinstance(value, list) or (isinstance(value, dict) and any(map(holds_array, value.values())))


def _is_exact(value: LooseJson, depth: int) -> bool:
    """Whether it holds no float and is not nested too deeply."""
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return depth < MAX_JSON_NESTING and all(_is_exact(member, depth + 1) for member in members)
    return not isinstance(value, float)


def _check(value: object, depth: int) -> None:
    if isinstance(value, dict):
        if depth == MAX_JSON_NESTING:
            raise InvalidJson(_TOO_DEEP)
        for member in value.values():
            _check(member, depth + 1)
    elif isinstance(value, list):
        if depth == MAX_JSON_NESTING:
            raise InvalidJson(_TOO_DEEP)
        for element in value:
            _check(element, depth + 1)
    elif isinstance(value, _InvalidNumber):
        raise InvalidJson(
            f"holds the number {quoted(value)}; numbers are zero or from 1e-{MAX_NUMBER_EXPONENT} to "
            f"1e{MAX_NUMBER_EXPONENT} in magnitude, with at most {MAX_NUMBER_DIGITS} digits as written"
        )


def _object(members: list[tuple[str, Json]]) -> dict[str, Json]:
    """The last duplicate key wins, but texts must be valid in all of them: stores keep and index the whole text."""
    for key, member in members:
        _check_string(key)
        _check_texts(member)
    return dict(members)


def _check_texts(value: Json) -> None:
    """Checks the texts of a value, but for those of its objects, which `_object` has checked."""
    if isinstance(value, str):
        _check_string(value)
    elif isinstance(value, list):
        for element in value:
            _check_texts(element)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise InvalidJson(f"holds U+0000 in the string {quoted(text)}; no store can index it, leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJson(
            f"holds a lone surrogate in the string {quoted(text)}; write the character as a surrogate pair "
            "or as itself"
        ) from None


_DIGITS: Final = re.compile(r"[0-9]")


def _integer(literal: str) -> int | _InvalidNumber:
    if len(literal) - literal.startswith("-") > MAX_NUMBER_DIGITS:
        return _InvalidNumber(literal)
    return int(literal)


def _fractional(literal: str) -> int | Decimal | _InvalidNumber:
    if len(literal) > MAX_NUMBER_DIGITS and len(_DIGITS.findall(literal)) > MAX_NUMBER_DIGITS:
        return _InvalidNumber(literal)
    mantissa = literal.lower().partition("e")[0]
    if not mantissa.strip("-0."):
        return 0
    try:
        number = Decimal(literal)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        return _InvalidNumber(literal)
    if number.adjusted() < -MAX_NUMBER_EXPONENT or number.copy_abs() > _LARGEST:
        return _InvalidNumber(literal)
    return number


def _constant(name: str) -> NoReturn:
    raise InvalidJson(f"holds {name}, which is no JSON value; leave it out or write null")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fractional, parse_constant=_constant
)
