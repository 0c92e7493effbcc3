"""Payloads and predicates become JSON text without losing anything."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstr import Event, JsonText, where
from factstr.json_text import parse_json, to_json_text

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)


def json_values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(json_values(SCALARS))
def test_a_python_value_comes_back_as_it_was(value: Any) -> None:
    assert parse_json(to_json_text(value)) == value


@given(json_values(SCALARS | NUMBERS), NUMBERS)
def test_decimals_keep_every_digit_wherever_they_stand(value: Any, number: Decimal) -> None:
    text = to_json_text({"value": value, "number": [number]})
    read = json.loads(text, parse_float=Decimal, parse_int=Decimal)["number"][0]
    assert read.as_tuple() == number.as_tuple()


@given(json_values(SCALARS))
def test_a_decimal_in_a_payload_changes_nothing_beside_it(value: Any) -> None:
    assert to_json_text([value, Decimal(1)]) == to_json_text([value, 1])


def test_a_decimal_beside_keys_that_are_not_strings_writes_them_as_ever() -> None:
    odd: dict[Any, Any] = {1: 0, None: 0, 1.5: 0}
    assert to_json_text([odd, Decimal(1)]) == to_json_text([odd, 1])


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**64, 10**99 + 1])
def test_integers_of_any_size_are_exact(number: int) -> None:
    event = Event("counted", {"number": number})
    assert event.payload_text == f'{{"number":{number}}}'
    assert event.payload["number"] == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_what_is_no_json_number_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(ValueError, match=r"payload of 'measured' cannot be written as JSON: "):
        Event("measured", {"value": value})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), 1j])
def test_what_json_cannot_say_is_refused_with_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match=f"a {type(value).__name__} is not a JSON value"):
        Event("odd", {"value": value})


def test_a_value_inside_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        Event("endless", endless)
    with pytest.raises(ValueError, match="nests too deeply"):
        Event("endless", [Decimal(1), endless])


def test_text_outside_ascii_is_written_as_itself() -> None:
    assert to_json_text({"größe": "大😀"}) == '{"größe":"大😀"}'


def test_a_json_text_is_sent_as_it_is() -> None:
    text = '{ "a" : 1.0,\n"b":[ ] }'
    event = Event("as-is", JsonText(text))
    assert event.to_proto().payload == text
    assert event.payload == {"a": 1.0, "b": []}


def test_any_mapping_and_sequence_is_written() -> None:
    class Frozen(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 7

        def __iter__(self) -> Iterator[str]:
            return iter(["seven"])

        def __len__(self) -> int:
            return 1

    assert to_json_text([Frozen(), OrderedDict(a=(1, 2)), range(2)]) == '[{"seven":7},{"a":[1,2]},[0,1]]'


def test_a_predicate_is_written_like_a_payload() -> None:
    query = where(payload={"amount": Decimal("0.10")})
    assert query.filters[0].payload_predicates == ('{"amount":0.10}',)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "{", "01"])
def test_a_payload_that_is_not_json_is_not_parsed(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
