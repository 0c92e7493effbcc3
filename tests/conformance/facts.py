"""Facts and queries as a conformance test writes and reads them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class NewFact(NamedTuple):
    """A fact to append."""

    event_type: str = "happened"
    payload: str = "{}"
    metadata: Mapping[str, str] = NO_METADATA


class Fact(NamedTuple):
    """A fact as it came back; the time in microseconds since 1970."""

    sequence_number: int
    occurred_at: int
    event_type: str
    payload: str
    metadata: Mapping[str, str]

    @property
    def appended(self) -> NewFact:
        return NewFact(self.event_type, self.payload, self.metadata)


class Filter(NamedTuple):
    """One alternative of a query. None = unset, which is not the same as empty."""

    types: tuple[str, ...] | None = None
    predicates: tuple[str, ...] | None = None


class Query(NamedTuple):
    """Filters joined by OR, and the exclusive cursor of returned facts (`min_sequence_number`)."""

    filters: tuple[Filter, ...] = ()
    after: int | None = None


EVERYTHING = Query()


def of_type(*types: str) -> Query:
    return Query((Filter(types=types),))


def where(*predicates: str) -> Query:
    return Query((Filter(predicates=predicates),))
