"""Queries: which facts make up a context.

An `EventQuery` is what a caller says. `compile_query` validates it once; the `CompiledQuery` answers exactly whether a
fact matches (`contract.matching`), which index terms its facts must hold (`contract.terms`), and what its canonical
form is.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from factstr_server.contract.errors import Reason
from factstr_server.contract.json_text import (
    InexactNumber,
    InvalidJson,
    Json,
    canonical_text,
    count_nodes,
    holds_array,
    parse,
    parse_exact,
    parse_loose,
)
from factstr_server.contract.limits import MAX_PREDICATE_NODES, MAX_QUERY_ALTERNATIVES
from factstr_server.contract.matching import contains_any
from factstr_server.contract.terms import OVERFLOW, event_type_term, predicate_terms
from factstr_server.contract.validation import Violations, event_type_problem


@dataclass(frozen=True, slots=True)
class EventFilter:
    """One alternative. None is unconstrained; an empty tuple matches nothing."""

    event_types: tuple[str, ...] | None = None
    payload_predicates: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Filters joined by OR; none means all facts. `min_sequence_number` only limits what is returned."""

    filters: tuple[EventFilter, ...] = ()
    min_sequence_number: int | None = None

    def as_text(self) -> str:
        """The filters as JSON text, as given, for a store to keep; `query_from_text` reads it."""
        return json.dumps([[f.event_types, f.payload_predicates] for f in self.filters], ensure_ascii=False)


def query_from_text(text: str) -> EventQuery:
    """The query of `EventQuery.as_text`."""
    return EventQuery(
        tuple(
            EventFilter(*(None if part is None else tuple(part) for part in filter_parts))
            for filter_parts in json.loads(text)
        )
    )


@dataclass(frozen=True, slots=True)
class FilterTerms:
    """What the index must propose for one filter: (any of the type terms) AND (any predicate: all of its terms)."""

    event_types: tuple[str, ...] | None
    predicates: tuple[tuple[str, ...], ...] | None


class _Predicate(NamedTuple):
    value: Json
    terms: tuple[str, ...]
    nodes: int
    nodes_beside_arrays: int
    """All of its nodes, if there is an array among them."""


@dataclass(frozen=True, slots=True)
class _CompiledFilter:
    event_types: frozenset[str] | None
    predicates: tuple[_Predicate, ...] | None

    values: tuple[Json, ...]
    """Of the predicates."""

    @property
    def matches_nothing(self) -> bool:
        return self.event_types == frozenset() or self.predicates == ()


class CompiledQuery:
    """A validated query. `everything` and `nothing` are known without looking at a fact."""

    def __init__(self, filters: Sequence[_CompiledFilter], min_sequence_number: int | None = None) -> None:
        self.min_sequence_number = min_sequence_number
        self._canonical_filters = tuple(filters)
        self._filters = tuple(f for f in filters if not f.matches_nothing)
        self.everything = not filters or any(
            f.event_types is None and f.predicates is None for f in self._filters
        )
        self.nothing = bool(filters) and not self._filters
        predicates = [predicate for f in self._filters for predicate in f.predicates or ()]
        self._nodes = sum(predicate.nodes for predicate in predicates)
        self._nodes_beside_arrays = sum(predicate.nodes_beside_arrays for predicate in predicates)

    def steps(self, payload_size: int) -> int:
        """About how many steps of a fifth of a microsecond `matches` takes at most for a payload of so many bytes.

        The elements of a predicate's arrays are looked for among all those of a payload's: a product, where everything
        else is a sum.
        """
        return 20 + payload_size // 32 + self._nodes + self._nodes_beside_arrays * payload_size // 4

    @property
    def alternatives(self) -> int:
        """How many event types and payload predicates it holds."""
        return sum(len(f.event_types or ()) + len(f.values) for f in self._canonical_filters)

    def matches(self, event_type: str, payload: Callable[[], bytes]) -> bool:
        """Whether a fact matches: the one exact answer. The payload is only asked for where it matters."""
        if self.everything:
            return True
        undecided: list[Json] = []
        for candidate in self._filters:
            if candidate.event_types is not None and event_type not in candidate.event_types:
                continue
            if candidate.predicates is None:
                return True
            undecided += candidate.values
        if not undecided:
            return False
        text = payload()
        try:
            return contains_any(parse_loose(text), undecided)
        except InexactNumber:
            return contains_any(parse_exact(text), undecided)

    def may_match(self, event_type: str, terms: str) -> bool:
        """Whether a fact that holds these index terms can match. False is certain; only `matches` tells the rest.

        `terms` is the text of `EncodedEvent.terms`: tokens of one length, so that none occurs inside another.
        """
        if self.everything:
            return True
        for candidate, wanted in zip(self._filters, self.terms, strict=True):
            if candidate.event_types is not None and event_type not in candidate.event_types:
                continue
            if wanted.predicates is None or OVERFLOW in terms:
                return True
            for predicate in wanted.predicates:
                if all(term in terms for term in predicate):
                    return True
        return False

    @cached_property
    def terms(self) -> tuple[FilterTerms, ...]:
        """For each filter, the terms that every fact that it matches holds (or the fact holds `overflow`)."""
        return tuple(
            FilterTerms(
                None if f.event_types is None else tuple(map(event_type_term, sorted(f.event_types))),
                None if f.predicates is None else tuple(predicate.terms for predicate in f.predicates),
            )
            for f in self._filters
        )

    @cached_property
    def canonical(self) -> str:
        """Equal exactly for queries with the same meaning on paper: cursor dropped, lists sorted and de-duplicated,
        keys sorted, numbers canonical; unset and empty stay different.
        """
        filters = {
            json.dumps(
                [
                    None if f.event_types is None else sorted(f.event_types),
                    None if f.predicates is None else sorted({canonical_text(p.value) for p in f.predicates}),
                ]
            )
            for f in self._canonical_filters
        }
        return "[" + ",".join(sorted(filters)) + "]"


EVERYTHING = CompiledQuery(())
"""The query of no filters: all facts."""


def compile_query(query: EventQuery, violations: Violations, path: str = "query") -> CompiledQuery:
    """Validates a query; what is wrong is added to `violations` under `path`, and the result is then of no use."""
    alternatives = sum(len(f.event_types or ()) + len(f.payload_predicates or ()) for f in query.filters)
    if alternatives > MAX_QUERY_ALTERNATIVES:
        violations.add(
            Reason.INVALID_ARGUMENT,
            f"{path}.filters",
            f"holds {alternatives} event types and payload predicates; at most {MAX_QUERY_ALTERNATIVES} over all "
            "filters",
        )
        return EVERYTHING
    return CompiledQuery(
        [
            _compile_filter(event_filter, violations, f"{path}.filters[{index}]")
            for index, event_filter in enumerate(query.filters)
        ],
        query.min_sequence_number,
    )


def _compile_filter(event_filter: EventFilter, violations: Violations, path: str) -> _CompiledFilter:
    for index, event_type in enumerate(event_filter.event_types or ()):
        if problem := event_type_problem(event_type):
            violations.add(Reason.INVALID_EVENT_TYPE, f"{path}.event_types.any_of[{index}]", problem)
    predicates = None
    if event_filter.payload_predicates is not None:
        predicates = tuple(
            _compile_predicate(text, violations, f"{path}.payload_predicates.any_of[{index}]")
            for index, text in enumerate(event_filter.payload_predicates)
        )
    types = event_filter.event_types
    return _CompiledFilter(
        None if types is None else frozenset(types),
        predicates,
        tuple(predicate.value for predicate in predicates or ()),
    )


def _compile_predicate(text: str, violations: Violations, path: str) -> _Predicate:
    compiled = _compiled_short(text) if len(text) <= _SHORT_PREDICATE else _compiled(text)
    if isinstance(compiled, str):
        violations.add(Reason.INVALID_PREDICATE, path, compiled)
        return _NO_PREDICATE
    return compiled


def _compiled(text: str) -> _Predicate | str:
    """The predicate of a text, or what is wrong with it."""
    try:
        value = parse(text.encode())
    except InvalidJson as error:
        return str(error)
    nodes = count_nodes(value)
    if nodes > MAX_PREDICATE_NODES:
        return f"holds {nodes} JSON nodes; at most {MAX_PREDICATE_NODES}"
    return _Predicate(value, predicate_terms(value), nodes, nodes if holds_array(value) else 0)


_compiled_short: Final = lru_cache(maxsize=4096)(_compiled)
"""Cached: a context is asked for again and again, at least for each decision that is made on it."""

_SHORT_PREDICATE: Final = 512
"""Characters up to which a predicate is worth the room."""

_NO_PREDICATE: Final = _Predicate(None, (), 0, 0)
