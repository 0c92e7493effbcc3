"""The one exact matcher: does a payload contain a predicate?

Every store's answer is this one; an index only proposes candidates.
"""

from collections.abc import Callable
from decimal import Decimal

from factstr_server.contract.json_text import (
    InexactNumber,
    Json,
    LooseJson,
    parse_exact,
    parse_loose,
)


def contains(payload: LooseJson, predicate: Json) -> bool:
    """Recursive subset: objects by a subset of keys, each predicate element by some payload element, scalars by
    equality. Numbers by exact decimal value; `true` is not `1`; a scalar never matches an array; strings by code
    point.

    Raises InexactNumber where a number of the predicate meets a float of the payload.
    """
    if isinstance(predicate, dict):
        if not isinstance(payload, dict):
            return False
        # A loop, not all(): this runs for every candidate of every query.
        for key, wanted in predicate.items():  # noqa: SIM110
            if key not in payload or not contains(payload[key], wanted):
                return False
        return True
    if isinstance(predicate, list):
        return isinstance(payload, list) and all(
            any(contains(element, wanted) for element in payload) for wanted in predicate
        )
    if isinstance(predicate, bool) or predicate is None:
        return payload is predicate
    if isinstance(predicate, str):
        return isinstance(payload, str) and payload == predicate
    if isinstance(payload, float):
        raise InexactNumber
    return isinstance(payload, int | Decimal) and not isinstance(payload, bool) and payload == predicate


def parsed_exactly_where_needed(text: bytes, decide: Callable[[LooseJson], bool]) -> bool:
    """The decision over a payload's value, parsed quickly first and exactly only if the decision meets a float."""
    try:
        return decide(parse_loose(text))
    except InexactNumber:
        return decide(parse_exact(text))
