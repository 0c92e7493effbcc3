"""Long arrays are searched by what they hold: the same answers as element by element, at the cost of their sum."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstr_server.contract import matching
from factstr_server.contract.json_text import InexactNumber, parse_exact, parse_loose
from factstr_server.contract.matching import LongArrays, contains
from tests.contract import naive

scalars: st.SearchStrategy[Any] = st.sampled_from([None, True, False, 0, 1, 2, "", "a", "1", "true"])
elements = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(st.lists(elements, min_size=33, max_size=60), st.lists(st.lists(elements, max_size=3), max_size=4))
def test_long_arrays_answer_as_element_by_element(payload: list[Any], predicates: list[list[Any]]) -> None:
    text = json.dumps({"long": payload})
    value, arrays = parse_loose(text.encode()), LongArrays()
    for predicate in predicates:
        wanted = json.dumps({"long": predicate})
        expected = naive.matches(naive.value_of(text), naive.value_of(wanted))
        assert contains(value, parse_exact(wanted.encode()), arrays) == expected


def test_a_number_wanted_of_a_long_array_with_fractions_is_compared_exactly() -> None:
    text = json.dumps([*range(40), 0.5]).encode()
    for wanted, expected in ((b"[0.5]", True), (b"[5e-1, 39]", True), (b"[0.50000000000000000001]", False)):
        with pytest.raises(InexactNumber):
            contains(parse_loose(text), parse_exact(wanted))
        assert contains(parse_exact(text), parse_exact(wanted)) is expected
    assert contains(parse_loose(text), parse_exact(b"[39, 1.0]"))


@pytest.mark.parametrize("element", ["{}", "[{}]", '{{"x": {}}}'], ids=["scalars", "arrays", "objects"])
def test_a_long_predicate_on_a_long_array_costs_their_sum(
    element: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def array(numbers: range) -> bytes:
        return f"[{','.join(map(element.format, numbers))}]".encode()

    payload, predicate = parse_loose(array(range(20_000))), parse_exact(array(range(19_700, 20_001)))
    calls = 0
    one_by_one = matching.contains

    def counted(*arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        return one_by_one(*arguments)

    monkeypatch.setattr(matching, "contains", counted)
    assert matching.contains(payload, predicate) is False
    assert calls <= 3 * 301 + 1
