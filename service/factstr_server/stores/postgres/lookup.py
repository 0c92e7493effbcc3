"""A query as the expression that `proposed` looks up (schema/0002_lookup.sql)."""

from typing import Final

from factstr_server.contract.query import CompiledQuery, FilterTerms
from factstr_server.contract.terms import OVERFLOW

ERA_BITS: Final = 16
"""Facts are indexed under terms that begin with their era, so that new ones are entered close together."""
BLOCK_BITS: Final = 12
"""An era's facts also stand under the term of their block, which bounds what a lookup of a common term reads."""


def era_prefix(sequence_number: int) -> str:
    return f"{(sequence_number - 1) >> ERA_BITS:06x}"


def block_term(sequence_number: int) -> str:
    return f"b{((sequence_number - 1) >> BLOCK_BITS) & ((1 << (ERA_BITS - BLOCK_BITS)) - 1):02x}"


def lookup_expression(query: CompiledQuery) -> str | None:
    """Matches a superset of the query's facts; None for all of them. The query is not `nothing`."""
    if query.everything:
        return None
    return " | ".join(f"({_filter_expression(wanted)})" for wanted in query.terms)


def _filter_expression(wanted: FilterTerms) -> str:
    parts = []
    if wanted.event_types is not None:
        parts.append(" | ".join(map(_term, wanted.event_types)))
    if wanted.predicates is not None:
        distinct = dict.fromkeys(" & ".join(map(_term, terms)) for terms in wanted.predicates)
        parts.append(" | ".join([*(f"({conjunction})" for conjunction in distinct), _term(OVERFLOW)]))
    return " & ".join(f"({part})" for part in parts)


def _term(term: str) -> str:
    return f"~{term}"
