"""The two parsers agree, and canonical texts are equal exactly for the same meaning."""

import json
from decimal import Decimal
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factstr_server.contract.json_text import (
    InvalidJson,
    canonical_number,
    canonical_text,
    count_nodes,
    parse_exact,
    parse_loose,
)
from tests.contract import naive
from tests.contract.json_strategies import ODD_NUMBERS, numbers, predicates_of, texts, written_otherwise
from tests.contract.naive import as_decimals, values_in


@given(texts)
@example("18446744073709551616")
@example("-0")
def test_the_quick_parser_without_floats_says_what_the_exact_one_says(text: str) -> None:
    exact = parse_exact(text.encode())
    loose = parse_loose(text.encode())
    if not any(isinstance(value, float) for value in values_in(loose)):
        assert naive.same(as_decimals(loose), as_decimals(exact))


@given(texts)
def test_the_exact_parser_says_what_the_standard_library_says_with_decimals(text: str) -> None:
    exact = parse_exact(text.encode())
    assert not any(isinstance(value, float) for value in values_in(exact))
    assert naive.same(as_decimals(exact), naive.value_of(text))


@given(st.one_of(texts, st.text(alphabet='{}[]",:.-+eE0123456789 tfnua\\\u0000\u00e9')))
@example('{"a":1e400,"a":1}')
@example('{"a":"\\ud800","a":1}')
@example('{"a":"\\u0000","a":1}')
@example("[" * 64 + "]" * 64)
@example('{"a":' + "[" * 70 + "]" * 70 + ',"a":1}')
def test_what_one_parser_refuses_the_other_does_not_accept(text: str) -> None:
    """But for nesting, which the quick parser leaves to whoever walks its value, and numbers that it makes floats."""
    try:
        loose = parse_loose(text.encode())
    except InvalidJson:
        with pytest.raises(InvalidJson):
            parse_exact(text.encode())
        return
    if not any(isinstance(value, float) for value in values_in(loose)):
        assert naive.same(as_decimals(loose), as_decimals(parse_exact(text.encode())))


@given(st.text(alphabet='{}[]",:.-+eE0123456789 tfnualsr\\\u00e9\u0661\ufeff\x1f'))
def test_only_json_texts_are_accepted(text: str) -> None:
    """The standard library accepts a superset (NaN, Infinity) of JSON."""
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(InvalidJson):
            parse_exact(text.encode())


@given(numbers, numbers)
def test_canonical_numbers_are_equal_exactly_when_their_decimal_values_are(one: str, other: str) -> None:
    values = [parse_exact(text.encode()) for text in (one, other)]
    canonical = [canonical_number(value) for value in values if isinstance(value, int | Decimal)]
    assert len(canonical) == 2
    assert (canonical[0] == canonical[1]) == (Decimal(one) == Decimal(other))


@pytest.mark.parametrize("text", ODD_NUMBERS)
def test_a_canonical_number_is_a_json_number_of_the_same_value(text: str) -> None:
    value = parse_exact(text.encode())
    assert isinstance(value, int | Decimal)
    assert Decimal(canonical_number(value)) == Decimal(text)
    assert parse_exact(canonical_number(value).encode()) == value


@given(texts, texts)
def test_predicates_with_the_same_canonical_text_match_the_same_payloads(text: str, payload: str) -> None:
    canonical = canonical_text(parse_exact(text.encode()))
    assert canonical_text(parse_exact(canonical.encode())) == canonical
    value = naive.value_of(payload)
    assert naive.matches(value, naive.value_of(text)) == naive.matches(value, naive.value_of(canonical))


@given(st.randoms(), texts)
def test_the_same_predicate_written_otherwise_has_the_same_canonical_text(chance: Random, text: str) -> None:
    other = written_otherwise(chance, naive.value_of(text))
    assert canonical_text(parse_exact(other.encode())) == canonical_text(parse_exact(text.encode()))


@given(texts)
def test_nodes_are_objects_arrays_and_scalars(text: str) -> None:
    assert count_nodes(parse_exact(text.encode())) == len(list(values_in(naive.value_of(text))))


@given(st.data(), texts)
def test_a_part_of_a_value_is_found_in_it(data: st.DataObject, text: str) -> None:
    """Keeps the oracle honest: what was cut from a payload must match it."""
    value = naive.value_of(text)
    assert naive.matches(value, data.draw(predicates_of(value)))


@pytest.mark.parametrize("text", ['"\\u0000"', '["\\ud800"]', '[[1, "\\udfff"]]', '{"\\u0000": 1}'])
def test_a_text_that_a_later_duplicate_key_replaces_must_be_valid_too(text: str) -> None:
    for whole in (f'{{"a": {text}, "a": 1}}', f'[{{"a": {text}, "a": 1}}, 1.5]'):
        with pytest.raises(InvalidJson):
            parse_loose(whole.encode())
        with pytest.raises(InvalidJson):
            parse_exact(whole.encode())


def test_a_number_that_a_later_duplicate_key_replaces_is_no_part_of_the_value() -> None:
    assert parse_exact(b'{"a": 1e400, "a": 1}') == parse_loose(b'{"a": 1e400, "a": 1}') == {"a": 1}
