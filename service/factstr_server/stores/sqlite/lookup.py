"""A query as an FTS5 expression over terms."""

from collections.abc import Callable
from typing import Final

from factstr_server.contract.query import CompiledQuery, FilterTerms
from factstr_server.contract.terms import OVERFLOW

MAX_TERMS_PER_LOOKUP: Final = 2_000
"""FTS5 holds a page per term and index segment. One predicate alone never reaches this."""

Holders = Callable[[str], int]
"""How many facts hold a term, counted up to a bound."""


def lookup_expression(query: CompiledQuery, holders: Holders) -> str:
    """Matches a superset of the query's facts. The query is neither everything nor nothing.

    FTS5 intersects by leaping in each list to the next position of the others, so that the rarest term of a conjunction
    bounds its cost. A query of too many terms for that is looked up by the rarest term of each predicate alone.
    """
    total = sum(len(terms) for f in query.terms for terms in f.predicates or ())
    rarest = holders if total > MAX_TERMS_PER_LOOKUP else None
    return " OR ".join(f"({_filter_expression(f, rarest)})" for f in query.terms)


def _filter_expression(wanted: FilterTerms, rarest: Holders | None) -> str:
    parts = []
    if wanted.event_types is not None:
        parts.append(" OR ".join(map(_token, wanted.event_types)))
    if wanted.predicates is not None:
        conjunctions = [(min(terms, key=rarest),) if rarest else terms for terms in wanted.predicates]
        distinct = dict.fromkeys(" AND ".join(map(_token, terms)) for terms in conjunctions)
        parts.append(" OR ".join([*(f"({conjunction})" for conjunction in distinct), OVERFLOW]))
    return " AND ".join(f"({part})" for part in parts)


def _token(term: str) -> str:
    return f'"{term}"'
