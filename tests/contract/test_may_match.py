"""What the terms of a fact allow never leaves out a query that matches it: parked streams are woken by nothing else."""

from hypothesis import event, example, given
from hypothesis import strategies as st

from factstr.v1 import event_pb2
from factstr_server.contract.append import EncodedEvent, prepare_append
from factstr_server.contract.query import CompiledQuery, EventFilter, EventQuery, compile_query
from factstr_server.contract.validation import Violations
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.tail import TailBatch
from factstr_server.stores.protocol import Committed
from tests.contract import naive
from tests.contract.json_strategies import predicates_of, texts
from tests.contract.test_matching_and_terms import json_of

TYPES = ("a", "b", "overflow")
RICH = "{" + ",".join(f'"k{i}":{i}' for i in range(2_100)) + "}"


def compiled(*filters: EventFilter) -> CompiledQuery:
    violations = Violations()
    query = compile_query(EventQuery(filters), violations)
    violations.refuse_if_any()
    return query


def batch_of(event_type: str, payload: str) -> TailBatch:
    append = prepare_append([event_pb2.NewEvent(event_type=event_type, payload=payload)], Violations())
    return TailBatch(Committed(1, 1, 0), append)


@st.composite
def payloads_and_queries(draw: st.DrawFn) -> tuple[str, CompiledQuery]:
    """Predicates are parts of the payload as often as anything else."""
    payload = draw(texts | st.just(RICH))
    value = naive.value_of(payload)
    predicates = st.one_of(
        texts, predicates_of(value).map(json_of) if payload is not RICH else st.just('{"k7":7}')
    )
    filters = st.builds(
        EventFilter,
        st.none() | st.lists(st.sampled_from(TYPES), max_size=2).map(tuple),
        st.none() | st.lists(predicates, max_size=2).map(tuple),
    )
    return payload, compiled(*draw(st.lists(filters, max_size=3)))


@given(st.sampled_from(TYPES), payloads_and_queries())
@example("a", (RICH, compiled(EventFilter(payload_predicates=('{"k2000":2000}',)))))
@example("a", (RICH, compiled(EventFilter(("b",)), EventFilter(("a",), ('{"k7":7}',)))))
def test_may_match_is_never_false_where_the_query_matches(
    event_type: str, payload_and_query: tuple[str, CompiledQuery]
) -> None:
    payload, query = payload_and_query
    batch = batch_of(event_type, payload)
    [fact] = batch.events
    matches = matched(query, fact)
    event(f"matches: {matches}")
    if matches:
        assert query.may_match(fact.event_type, fact.terms)
        dispatcher = Dispatcher()
        seat = dispatcher.take_seat(query)
        assert query.everything or set(seat.keys) & set(fact.terms.split()), "a parked stream would sleep on"


def matched(query: CompiledQuery, fact: EncodedEvent) -> bool:
    return query.matches(fact.event_type, lambda: fact.payload)
