"""What the machine draws: facts and queries that meet each other often, and positions in and beyond a short log."""

from typing import Final, TypeVar

from hypothesis import strategies as st

from tests.conformance.facts import Filter, NewFact, Query
from tests.conformance.streams import AT_HEAD, FROM_THE_BEGINNING, Start
from tests.contract.json_strategies import texts

T = TypeVar("T")
U = TypeVar("U")

TYPES: Final = ("placed", "paid", "shipped")
_PAYLOADS: Final = (
    *("{}", "[]", "null", "true", "1", "1.0", '"1"', "9007199254740993", "0.1", "1e0"),
    *('{"id":1}', '{"id":1.0,"x":[]}', '{"id":2}', '{"id":"1"}', '{"id":null}', '{"id":1,"id":2}'),
    *('{"id":1,"rows":[{"x":1,"y":2},{"x":2,"y":1}]}', '{"rows":[{"x":1,"y":1}]}', '{"rows":[1,[2,[3]]]}'),
    # More terms than an index takes.
    '{"id":3,' + ",".join(f'"k{i}":{i}' for i in range(2_000)) + "}",
)
_PREDICATES: Final = (
    *("{}", "[]", "null", "true", "1", "1.0", '"1"', "9007199254740992", "0.1", '{"id":1}', '{"id":10e-1}'),
    *('{"id":2}', '{"id":"1"}', '{"id":null}', '{"rows":[]}', '{"rows":[{"x":1}]}', '{"rows":[[[3]]]}'),
    *('{"rows":[{"x":1,"y":1}]}', '{"x":[]}', '{"id":1,"rows":[{"y":2}]}', '{"k7":7}', '{"k7":8}'),
    '{"id":3,"k1999":1999}',
)


def mostly(usual: st.SearchStrategy[T], other: st.SearchStrategy[U]) -> st.SearchStrategy[T | U]:
    """The other one time in five: what seldom leads anywhere, or takes much of what a history may draw."""
    return st.integers(0, 4).flatmap(lambda die: other if die == 4 else usual)


def some(chosen: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    """Unset, one or two, or set and empty."""
    return mostly(st.none() | st.lists(chosen, min_size=1, max_size=2).map(tuple), nothing)


nothing = st.just(())
facts = st.builds(
    NewFact,
    st.sampled_from(TYPES),
    mostly(st.sampled_from(_PAYLOADS), texts),
    st.sampled_from([{}, {"source": "web"}, {"a": "", "b": "é"}]),
)
batches = st.lists(facts, min_size=1, max_size=3).map(tuple)
filters = st.builds(
    Filter,
    some(mostly(st.sampled_from(TYPES), st.just("other"))),
    some(mostly(st.sampled_from(_PREDICATES), texts)),
)
positions = st.integers(0, 30)
beyond = st.sampled_from([2**63 - 1, 2**63, 2**64 - 1])
odd_positions = mostly(st.none() | positions, beyond)

RIGHT: Final = -1
HEAD: Final = -2
"""Stand for the version that a context has, and for the head, which it may not have reached."""

versions = mostly(st.sampled_from([RIGHT, HEAD]), odd_positions)
queries = st.builds(Query, st.lists(filters, max_size=2).map(tuple), odd_positions)
keys = st.sampled_from(["", "", "k1", "k2", "k3", "k4"])
indexes = st.integers(0, 20)
counts = st.integers(1, 6)
windows = st.sampled_from([1, 2, 5, 100])
starts: st.SearchStrategy[Start] = mostly(st.sampled_from([FROM_THE_BEGINNING, AT_HEAD]), positions)
