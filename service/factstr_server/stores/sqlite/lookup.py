"""A query as an FTS5 expression over terms."""

from typing import Final

from factstr_server.contract.query import CompiledQuery, FilterTerms
from factstr_server.contract.terms import OVERFLOW

MAX_TERMS_PER_LOOKUP: Final = 2_000
"""FTS5 holds a page per term and index segment. A query of more terms than this is looked up by some of each
predicate's; one predicate alone never reaches it."""


def lookup_expression(query: CompiledQuery) -> str:
    """Matches a superset of the query's facts. The query is neither everything nor nothing.

    FTS5 intersects by leaping in each list to the next position of the others, so that the rarest term of a
    conjunction bounds its cost.
    """
    predicates = sum(len(f.predicates or ()) for f in query.terms)
    total = sum(len(terms) for f in query.terms for terms in f.predicates or ())
    share = max(1, MAX_TERMS_PER_LOOKUP // predicates) if total > MAX_TERMS_PER_LOOKUP else total
    return " OR ".join(f"({_filter_expression(f, share)})" for f in query.terms)


def _filter_expression(wanted: FilterTerms, share: int) -> str:
    parts = []
    if wanted.event_types is not None:
        parts.append(_any_of(wanted.event_types))
    if wanted.predicates is not None:
        conjunctions = {" AND ".join(map(_token, terms[:share])): None for terms in wanted.predicates}
        parts.append(" OR ".join([*(f"({c})" for c in conjunctions), OVERFLOW]))
    return " AND ".join(f"({part})" for part in parts)


def _any_of(terms: tuple[str, ...]) -> str:
    return " OR ".join(map(_token, terms))


def _token(term: str) -> str:
    return f'"{term}"'
