"""Queries are values that read as they are written, and keep unset and empty apart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstr
from factstr import EventFilter, EventQuery, JsonText, everything, where
from factstr.v1 import event_pb2

FILTERS = st.builds(
    EventFilter,
    st.none() | st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.none() | st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
QUERIES = st.builds(
    EventQuery, st.lists(FILTERS, max_size=3).map(tuple), st.none() | st.integers(0, 2**64 - 1)
)


def test_where_reads_as_what_it_selects() -> None:
    query = where("tool-registered", "tool-returned", payload={"tool": {"id": "drill-1"}})
    assert query.to_proto() == event_pb2.EventQuery(
        filters=[
            event_pb2.EventFilter(
                event_types=event_pb2.EventTypes(any_of=["tool-registered", "tool-returned"]),
                payload_predicates=event_pb2.PayloadPredicates(any_of=['{"tool":{"id":"drill-1"}}']),
            )
        ]
    )


def test_several_predicates_are_any_of() -> None:
    assert where(payload_any=[{"a": 1}, None, JsonText("1.0")]).filters == (
        EventFilter(None, ('{"a":1}', "null", "1.0")),
    )


def test_unset_and_empty_stay_apart() -> None:
    unset, no_type, no_predicate = where(), where(types=()), where(payload_any=[])
    assert not unset.to_proto().filters[0].HasField("event_types")
    assert no_type.to_proto().filters[0].HasField("event_types")
    assert not no_type.to_proto().filters[0].HasField("payload_predicates")
    assert no_predicate.to_proto().filters[0].HasField("payload_predicates")
    assert len({unset, no_type, no_predicate}) == 3


def test_null_is_a_predicate() -> None:
    assert where(payload=None).filters[0].payload_predicates == ("null",)


def test_a_bar_joins_alternatives() -> None:
    assert (where("a") | where("b")).filters == (*where("a").filters, *where("b").filters)


def test_everything_or_something_is_everything() -> None:
    assert everything() | where("a") == where("a") | everything() == everything()


def test_a_cursor_belongs_to_the_whole_query() -> None:
    assert (where("a") | where("b")).after(5).min_sequence_number == 5
    assert where("a").after(5) | where("b").after(5) == (where("a") | where("b")).after(5)
    with pytest.raises(ValueError, match=r"\(a \| b\)\.after"):
        where("a").after(5) | where("b")


def test_a_query_and_another_thing_cannot_be_joined() -> None:
    other: Any = "b"
    with pytest.raises(TypeError):
        where("a") | other


@given(QUERIES)
def test_a_query_comes_back_from_its_message(query: EventQuery) -> None:
    assert EventQuery.from_proto(query.to_proto()) == query


@given(QUERIES)
def test_a_query_reads_as_the_expression_that_makes_it(query: EventQuery) -> None:
    assert eval(repr(query), vars(factstr)) == query


def test_a_simple_query_reads_simply() -> None:
    assert (
        repr(where("a", payload={"b": 1}).after(3)) == """where('a', payload=JsonText('{"b":1}')).after(3)"""
    )


def test_contradicting_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="not both"):
        where("a", types=["b"])
    with pytest.raises(TypeError, match="not both"):
        where(payload=1, payload_any=[2])
    with pytest.raises(TypeError, match=r"where\('ab'\)"):
        where(types="ab")
