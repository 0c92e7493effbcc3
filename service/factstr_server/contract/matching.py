"""The one exact matcher: does a payload contain a predicate?

Every store's answer is this one; an index only proposes candidates.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Final

from factstr_server.contract.json_text import InexactNumber, Json, LooseJson
from factstr_server.contract.terms import OVERFLOW, predicate_terms, value_terms

_MISSING: Final = object()

_SHORT_ARRAY: Final = 32
"""Up to this length an array is searched element by element; beyond it, by what it holds."""


def contains_any(payload: LooseJson, predicates: Sequence[Json]) -> bool:
    """Whether any of some predicates is contained. Raises InexactNumber as `contains` does."""
    if len(predicates) == 1:
        return contains(payload, predicates[0])
    arrays = LongArrays()
    return any(contains(payload, predicate, arrays) for predicate in predicates)


def contains(payload: LooseJson, predicate: Json, arrays: "LongArrays | None" = None) -> bool:
    """Recursive subset: objects by a subset of keys, each predicate element by some payload element, scalars by
    equality. Numbers by exact decimal value; `true` is not `1`; a scalar never matches an array; strings by code
    point.

    `arrays` keeps what is known of the payload's long arrays, for the next predicate on the same payload. Raises
    InexactNumber where a number of the predicate meets a float of the payload.
    """
    if isinstance(predicate, dict):
        return isinstance(payload, dict) and _contains_members(payload, predicate, arrays)
    if isinstance(predicate, list):
        if not isinstance(payload, list):
            return False
        if len(payload) > _SHORT_ARRAY:
            arrays = LongArrays() if arrays is None else arrays
            return arrays.of(payload).contains_all(predicate)
        return all(any(contains(element, wanted, arrays) for element in payload) for wanted in predicate)
    if isinstance(predicate, bool) or predicate is None:
        return payload is predicate
    if isinstance(predicate, str):
        return isinstance(payload, str) and payload == predicate
    if isinstance(payload, float):
        raise InexactNumber
    return isinstance(payload, int | Decimal) and not isinstance(payload, bool) and payload == predicate


def _contains_members(
    payload: dict[str, LooseJson], predicate: dict[str, Json], arrays: "LongArrays | None"
) -> bool:
    # A loop, and texts in place: this runs for every candidate of every query.
    for key, wanted in predicate.items():
        found = payload.get(key, _MISSING)
        if isinstance(wanted, str):
            if found != wanted:
                return False
        elif found is _MISSING or not contains(found, wanted, arrays):
            return False
    return True


class LongArrays:
    """The long arrays of one payload, which must live as long as this does."""

    def __init__(self) -> None:
        self._known: dict[int, _LongArray] = {}

    def of(self, array: list[LooseJson]) -> "_LongArray":
        known = self._known.get(id(array))
        if known is None:
            known = self._known[id(array)] = _LongArray(array, self)
        return known


class _LongArray:
    """Finds wanted elements without walking the array for each: both may be long, and their product huge."""

    def __init__(self, array: list[LooseJson], arrays: LongArrays) -> None:
        self._arrays = arrays
        self._containers = [element for element in array if isinstance(element, dict | list)]
        scalars = [element for element in array if not isinstance(element, dict | list)]
        # A float may stand for another number than it equals: it is never looked up, only asked for exactly.
        self._scalars = {_scalar_key(scalar) for scalar in scalars if not isinstance(scalar, float)}
        self._inexact = any(isinstance(scalar, float) for scalar in scalars)

    def contains_all(self, wanted: list[Json]) -> bool:
        return all(map(self._contains, wanted))

    def _contains(self, wanted: Json) -> bool:
        if isinstance(wanted, dict | list):
            return any(contains(element, wanted, self._arrays) for element in self._candidates(wanted))
        if _scalar_key(wanted) in self._scalars:
            return True
        if self._inexact and isinstance(wanted, int | Decimal) and not isinstance(wanted, bool):
            raise InexactNumber
        return False

    def _candidates(self, wanted: Json) -> Iterable[LooseJson]:
        rarest = min((self._holders.get(term, []) for term in predicate_terms(wanted)), key=len)
        return (*rarest, *self._holders.get(OVERFLOW, []))

    @cached_property
    def _holders(self) -> dict[str, list[LooseJson]]:
        """The containers by their own index terms, as if each were a payload."""
        holders: dict[str, list[LooseJson]] = defaultdict(list)
        for container in self._containers:
            for term in value_terms(container):
                holders[term].append(container)
        return holders


def _scalar_key(scalar: LooseJson) -> object:
    """Equal exactly for equal JSON scalars: Python's `True` equals its `1`."""
    return ("literal", scalar) if scalar is None or isinstance(scalar, bool) else scalar
