"""A query as an FTS5 expression over terms."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from factstr_server.contract.query import CompiledQuery, FilterTerms
from factstr_server.contract.terms import OVERFLOW

MAX_TERMS_PER_LOOKUP: Final = 2_000
"""FTS5 holds a page per term and index segment. One predicate alone never reaches this."""

Holders = Callable[[str, int], int]
"""How many facts hold a term, counted up to a bound."""

_FIRST_BOUND: Final = 100


def lookup_expression(query: CompiledQuery, holders: Holders) -> str:
    """Matches a superset of the query's facts. The query is neither everything nor nothing.

    FTS5 intersects by leaping in each list to the next position of the others, so that the rarest term of a conjunction
    bounds its cost. A query of too many terms for that is looked up by the rarest term of each predicate alone.
    """
    total = sum(len(terms) for f in query.terms for terms in f.predicates or ())
    counted = lru_cache(None)(holders) if total > MAX_TERMS_PER_LOOKUP else None
    return " OR ".join(f"({_filter_expression(f, counted)})" for f in query.terms)


def _filter_expression(wanted: FilterTerms, holders: Holders | None) -> str:
    parts = []
    if wanted.event_types is not None:
        parts.append(" OR ".join(map(_token, wanted.event_types)))
    if wanted.predicates is not None:
        conjunctions = [(_rarest(terms, holders),) if holders else terms for terms in wanted.predicates]
        distinct = dict.fromkeys(" AND ".join(map(_token, terms)) for terms in conjunctions)
        parts.append(" OR ".join([*(f"({conjunction})" for conjunction in distinct), OVERFLOW]))
    return " AND ".join(f"({part})" for part in parts)


def _rarest(terms: tuple[str, ...], holders: Holders) -> str:
    """Counts all of them only as far as it takes to find the one with the fewest."""
    bound = _FIRST_BOUND
    while True:
        counts = [holders(term, bound) for term in terms]
        fewest = min(counts)
        if fewest < bound or len(terms) == 1:
            return terms[counts.index(fewest)]
        bound *= 10


def _token(term: str) -> str:
    return f'"{term}"'
