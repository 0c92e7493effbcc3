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
from typing import Final

from xxhash import xxh3_64_hexdigest

from factstr_server.contract.json_text import (
    InexactNumber,
    Json,
    LooseJson,
    canonical_number,
    parse_exact,
    parse_loose,
    too_deep,
)
from factstr_server.contract.limits import MAX_JSON_NESTING, MAX_TERMS_PER_FACT

OVERFLOW: Final = "overflow"

# U+0000 occurs in no key and no string, so that a path followed by a value is unambiguous: `\0.key` steps into an
# object, `\0*` into an array, and `\0"…`, `\0#…`, `\0=…`, `\0{`, `\0[` end it with a string, number, literal or kind.
_LITERALS: Final[dict[object, str]] = {None: "\0=null", True: "\0=true", False: "\0=false"}


def event_type_term(event_type: str) -> str:
    return xxh3_64_hexdigest(event_type.encode())


def payload_terms(text: bytes) -> Collection[str]:
    """The terms of a payload; only OVERFLOW when there are too many. Validates it: raises InvalidJson."""
    terms: set[str] = set()
    try:
        _collect(parse_loose(text), "", terms, 0)
    except InexactNumber:
        terms.clear()
        _collect(parse_exact(text), "", terms, 0)
    return (OVERFLOW,) if _is_full(terms) else terms


def predicate_terms(predicate: Json) -> tuple[str, ...]:
    """The terms that every payload matching the predicate holds; never empty."""
    terms: set[str] = set()
    _collect_required(predicate, "", terms)
    return tuple(sorted(terms))


def _collect(value: LooseJson, path: str, terms: set[str], depth: int) -> None:
    """Adds the terms of `value` at `path`. The hot loop of an append: members that are scalars are handled in place."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        if not _entered(path + "\0{", len(value), terms, depth):
            _check_rest(value, depth)
            return
        for key, member in value.items():
            kind = type(member)
            if kind is str:
                terms.add(xxh3_64_hexdigest(f'{path}\0.{key}\0"{member}'.encode()))
            elif kind is dict or kind is list:
                _collect(member, f"{path}\0.{key}", terms, depth + 1)
            else:
                terms.add(xxh3_64_hexdigest(f"{path}\0.{key}{_scalar(member)}".encode()))
    elif kind is list:
        assert isinstance(value, list)
        if not _entered(path + "\0[", 0, terms, depth):
            _check_rest(value, depth)
            return
        path += "\0*"
        for index, element in enumerate(value):
            if _is_full(terms):
                _check_rest(value[index:], depth)
                return
            kind = type(element)
            if kind is dict or kind is list:
                _collect(element, path, terms, depth + 1)
            else:
                terms.add(xxh3_64_hexdigest(f"{path}{_scalar(element)}".encode()))
    else:
        terms.add(xxh3_64_hexdigest(f"{path}{_scalar(value)}".encode()))


def _entered(container: str, members: int, terms: set[str], depth: int) -> bool:
    """Adds a container's own term; False when its fact holds too many, so that nothing more need be hashed.

    Every member of an object has at least one term of its own.
    """
    if depth >= MAX_JSON_NESTING:
        raise too_deep()
    if members >= MAX_TERMS_PER_FACT:
        terms.add(OVERFLOW)
    terms.add(xxh3_64_hexdigest(container.encode()))
    return not _is_full(terms)


def _is_full(terms: set[str]) -> bool:
    """Whether a fact holds more than the limit, the term of its type included."""
    return len(terms) >= MAX_TERMS_PER_FACT or OVERFLOW in terms


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
