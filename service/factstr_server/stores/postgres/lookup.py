"""A query as the expression that `proposed` looks up (schema/0002_lookup.sql)."""

from collections.abc import Iterator, Sequence
from typing import Final

from factstr_server.contract.query import CompiledQuery, FilterTerms
from factstr_server.contract.terms import OVERFLOW

ERA_BITS: Final = 16
"""Facts are indexed under terms that begin with their era, so that new ones are entered close together."""
BLOCK_BITS: Final = 12
"""An era's facts also stand under the term of their block, which bounds what a lookup of a common term reads."""

MAX_TERMS: Final = 200
"""In one expression, unless one predicate alone holds more."""


def era_prefix(sequence_number: int) -> str:
    return f"{(sequence_number - 1) >> ERA_BITS:06x}"


def block_term(sequence_number: int) -> str:
    return f"b{((sequence_number - 1) >> BLOCK_BITS) & ((1 << (ERA_BITS - BLOCK_BITS)) - 1):02x}"


def lookup_expressions(query: CompiledQuery) -> list[str] | None:
    """Together they match a superset of the query's facts; None for all of them. The query is not `nothing`.

    GIN's cost grows with the square of the terms in one expression: a query of many terms is looked up in parts.
    """
    if query.everything:
        return None
    parts = [part for wanted in query.terms for part in _parts(wanted)]
    gathered: list[str] = []
    room = 0
    for part, terms in parts:
        if terms <= room:
            gathered[-1] += f" | {part}"
            room -= terms
        else:
            gathered.append(part)
            room = MAX_TERMS - terms
    return gathered


def _parts(wanted: FilterTerms) -> Iterator[tuple[str, int]]:
    """Alternatives that make up a filter, and how many terms each holds."""
    types = [None] if wanted.event_types is None else _chunks([(_term(t), 1) for t in wanted.event_types])
    conjunctions = None
    if wanted.predicates is not None:
        distinct = dict.fromkeys(wanted.predicates)
        conjunctions = _chunks([(f"({' & '.join(map(_term, terms))})", len(terms)) for terms in distinct])
    for any_type in types:
        if conjunctions is None:
            assert any_type, "a filter without constraints is everything"
            yield any_type
            continue
        for any_predicate, terms in (*conjunctions, (_term(OVERFLOW), 1)):
            if any_type is None:
                yield any_predicate, terms
            else:
                yield f"(({any_type[0]}) & ({any_predicate}))", terms + any_type[1]


def _chunks(alternatives: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Alternatives joined as long as they hold few terms."""
    chunks: list[tuple[str, int]] = []
    for text, terms in alternatives:
        if chunks and chunks[-1][1] + terms <= MAX_TERMS // 2:
            before, so_far = chunks[-1]
            chunks[-1] = (f"{before} | {text}", so_far + terms)
        else:
            chunks.append((text, terms))
    return chunks


def _term(term: str) -> str:
    return f"~{term}"
