"""Index terms: what a fact can be looked up by.

A fact holds one term for its event type, one per scalar leaf (path and canonical value) and one per object or array
(path and kind). A predicate's terms are held by every fact that it matches, so the intersection of a predicate's terms
is a superset of its facts: the index proposes, `contract.matching` decides. A fact with more than
`MAX_TERMS_PER_FACT` holds its type's term and OVERFLOW, and every lookup of a predicate is (its terms) OR OVERFLOW.

A term is a 64-bit hash in hexadecimal, so that it is a token of letters and digits for any index. A collision costs a
candidate more, never a wrong answer.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import Final, TypeAlias

from xxhash import xxh3_64_hexdigest

from factstr_server.contract.json_text import (
    InexactNumber,
    Json,
    LooseJson,
    canonical_number,
    parse_exact,
    parse_loose,
    parsed_exactly_where_needed,
    too_deep,
)
from factstr_server.contract.limits import MAX_JSON_NESTING, MAX_TERMS_PER_FACT

OVERFLOW: Final = "overflow"

_Terms: TypeAlias = dict[str, None]
"""A set, into which a term goes in half the time."""

# U+0000 occurs in no key and no string, so that a path followed by a value is unambiguous: `\0.key` steps into an
# object, `\0*` into an array, and `\0"…`, `\0#…`, `\0=…`, `\0{`, `\0[` end it with a string, number, literal or kind.
_LITERALS: Final[dict[object, str]] = {None: "\0=null", True: "\0=true", False: "\0=false"}


def event_type_term(event_type: str) -> str:
    return xxh3_64_hexdigest(event_type.encode())


def payload_terms(text: bytes) -> Collection[str]:
    """The terms of a payload; only OVERFLOW when there are too many. Validates it: raises InvalidJson."""
    # The steps of `parsed_exactly_where_needed`, fewer of them.
    try:
        return value_terms(parse_loose(text))
    except InexactNumber:
        return value_terms(parse_exact(text))


def check_payload(text: bytes) -> None:
    """Validates a payload whose terms nobody needs: raises InvalidJson."""
    parsed_exactly_where_needed(text, lambda value: _check_rest(value, 0))


def value_terms(value: LooseJson) -> Collection[str]:
    """The terms of a payload's value. Raises InexactNumber where it holds a float."""
    terms: _Terms = {}
    _collect(value, "", terms, 0)
    # The type's term takes one place.
    return (OVERFLOW,) if OVERFLOW in terms or len(terms) >= MAX_TERMS_PER_FACT else terms


def predicate_terms(predicate: Json) -> tuple[str, ...]:
    """The terms that every payload matching the predicate holds; never empty."""
    terms: set[str] = set()
    _collect_required(predicate, "", terms)
    return tuple(sorted(terms))


def _collect(value: LooseJson, path: str, terms: _Terms, depth: int) -> None:
    """Adds the terms of `value` at `path`. The hot loop of an append: members that are scalars are handled in place."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        # Every member has at least one term of its own.
        if depth == MAX_JSON_NESTING or len(terms) >= MAX_TERMS_PER_FACT or len(value) >= MAX_TERMS_PER_FACT:
            _give_up(value, terms, depth)
            return
        digest, step = xxh3_64_hexdigest, f"{path}\0."
        terms[digest(f"{path}\0{{".encode())] = None
        for key, member in value.items():
            kind = type(member)
            if kind is str:
                terms[digest(f'{step}{key}\0"{member}'.encode())] = None
            elif kind is dict or kind is list:
                _collect(member, step + key, terms, depth + 1)
            else:
                terms[digest(f"{step}{key}{_scalar(member)}".encode())] = None
    elif kind is list:
        assert isinstance(value, list)
        if depth == MAX_JSON_NESTING:
            raise too_deep()
        terms[xxh3_64_hexdigest(f"{path}\0[".encode())] = None
        path += "\0*"
        for index, element in enumerate(value):
            if len(terms) >= MAX_TERMS_PER_FACT:
                _give_up(value[index:], terms, depth)
                return
            kind = type(element)
            if kind is dict or kind is list:
                _collect(element, path, terms, depth + 1)
            else:
                terms[xxh3_64_hexdigest(f"{path}{_scalar(element)}".encode())] = None
    else:
        terms[xxh3_64_hexdigest(f"{path}{_scalar(value)}".encode())] = None


def _give_up(container: LooseJson, terms: _Terms, depth: int) -> None:
    """The fact overflows: what is left of it is checked, but no longer hashed."""
    terms[OVERFLOW] = None
    _check_rest(container, depth)


def _check_rest(value: LooseJson, depth: int) -> None:
    """What `_collect` checks of a value, without its terms."""
    if isinstance(value, dict | list):
        if depth >= MAX_JSON_NESTING:
            raise too_deep()
        for member in value.values() if isinstance(value, dict) else value:
            _check_rest(member, depth + 1)
    elif isinstance(value, float):
        raise InexactNumber


def _scalar(value: LooseJson) -> str:
    if isinstance(value, str):
        return f'\0"{value}'
    if value is None or isinstance(value, bool):
        return _LITERALS[value]
    if isinstance(value, float):
        raise InexactNumber
    assert isinstance(value, int | Decimal)
    return f"\0#{canonical_number(value)}"


def _collect_required(value: Json, path: str, terms: set[str]) -> None:
    """As `_collect`, without the kinds of containers that a member or element implies."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            _collect_required(member, f"{path}\0.{key}", terms)
    elif isinstance(value, list) and value:
        for element in value:
            _collect_required(element, f"{path}\0*", terms)
    elif isinstance(value, dict | list):
        terms.add(xxh3_64_hexdigest(f"{path}\0{'{' if isinstance(value, dict) else '['}".encode()))
    else:
        terms.add(xxh3_64_hexdigest(f"{path}{_scalar(value)}".encode()))
