"""The exact matcher agrees with an oracle written from the contract, and the index never leaves a match out."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from factstr_server.contract.json_text import parse_exact, parsed_exactly_where_needed
from factstr_server.contract.matching import contains
from factstr_server.contract.terms import OVERFLOW, event_type_term, payload_terms, predicate_terms
from tests.contract import naive
from tests.contract.json_strategies import predicates_of, texts


def json_of(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{json_of(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_of, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def service_says(payload: str, predicate: str) -> bool:
    wanted = parse_exact(predicate.encode())
    return parsed_exactly_where_needed(payload.encode(), lambda value: contains(value, wanted))


def check(payload: str, predicate: str) -> bool:
    """The matcher's answer, after comparing it with the oracle's, and the index with both."""
    expected = naive.matches(naive.value_of(payload), naive.value_of(predicate))
    assert service_says(payload, predicate) == expected
    assert contains(parse_exact(payload.encode()), parse_exact(predicate.encode())) == expected
    if expected:
        held = payload_terms(payload.encode())
        wanted = predicate_terms(parse_exact(predicate.encode()))
        assert held == (OVERFLOW,) or set(wanted) <= set(held)
    return expected


@given(texts, texts)
@example("[true]", "[1]")
@example("[1.0]", "[true]")
@example("[0.1]", "[0.1000000000000000055]")
@example("[9007199254740993.0]", "[9007199254740993]")
@example("[1, 0.5, [0.5]]", "[[0.5]]")
def test_any_payload_and_any_predicate(payload: str, predicate: str) -> None:
    event(f"matches: {check(payload, predicate)}")


@given(st.data(), texts)
def test_a_predicate_that_is_part_of_the_payload(data: st.DataObject, payload: str) -> None:
    assert check(payload, json_of(data.draw(predicates_of(naive.value_of(payload)))))


@given(st.data(), texts, texts)
def test_a_predicate_that_is_nearly_part_of_the_payload(
    data: st.DataObject, payload: str, other: str
) -> None:
    """A part of the payload beside a part of something else."""
    own = json_of(data.draw(predicates_of(naive.value_of(payload))))
    for predicate in (f"[{own},{other}]", f'{{"a":{own},"b":{other}}}'):
        for wrapped in (f"[{payload},{other}]", f"[{payload}]", f'{{"a":{payload},"b":1}}'):
            check(wrapped, predicate)


@given(texts)
def test_every_payload_contains_itself(payload: str) -> None:
    assert check(payload, payload)


@given(texts)
def test_a_lookup_always_has_a_term_to_look_for(predicate: str) -> None:
    assert predicate_terms(parse_exact(predicate.encode()))


@given(texts)
def test_terms_are_tokens_of_letters_and_digits(text: str) -> None:
    """What an index takes for one token; the type's never equals a payload's."""
    terms = payload_terms(text.encode())
    assert terms
    assert all(term.isascii() and term.isalnum() and term == term.lower() for term in terms)
    assert event_type_term("overflow") != OVERFLOW


@given(st.integers(1_900, 2_100))
def test_a_fact_holds_at_most_2_000_terms_with_its_type(leaves: int) -> None:
    payload = json.dumps({f"k{i}": i for i in range(leaves)}).encode()
    terms = payload_terms(payload)
    assert terms == (OVERFLOW,) or len(terms) == leaves + 1
    assert (terms == (OVERFLOW,)) == (leaves + 2 > 2_000)
