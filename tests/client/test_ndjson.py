"""A line gives its payload up byte for byte, and takes it in so."""

import json
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstr import EventRecord
from factstr.cli.batches import batches
from factstr.cli.ndjson import BadLine, event_from_line, line_from_record, object_members
from factstr.event import Event
from tests.client.test_json_texts import SCALARS, json_values

SPACE = st.text(" \t", max_size=2)
BREAKS = st.text(" \t\n\r", max_size=2)


@st.composite
def json_texts(draw: st.DrawFn, space: st.SearchStrategy[str]) -> str:
    """JSON texts with every kind of number, escape and white space that one may be written with."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            inner = ",".join(
                f"{pad()}{written(key)}{pad()}:{pad()}{written(v)}{pad()}" for key, v in value.items()
            )
            return f"{{{inner or pad()}}}"
        if isinstance(value, list):
            return f"[{','.join(pad() + written(v) + pad() for v in value) or pad()}]"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=draw(st.booleans()))
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value}{draw(st.sampled_from(['', '.0', '.00', 'e0', 'E+2', 'e-7']))}"
        return json.dumps(value)

    def pad() -> str:
        return draw(space)

    return written(draw(json_values(SCALARS)))


@given(json_texts(SPACE), st.lists(SPACE, min_size=8, max_size=8), st.permutations(range(3)))
def test_a_payload_is_taken_as_it_stands_in_the_line(text: str, pads: list[str], order: list[int]) -> None:
    members = [
        f'{pads[0]}"event_type"{pads[1]}:{pads[2]}"a \\u0041"',
        f'"payload"{pads[3]}:{pads[4]}{text}{pads[5]}',
        f'{pads[6]}"metadata":{{"payload":"not this one"}}',
    ]
    event = event_from_line(f"{pads[7]}{{{','.join(members[index] for index in order)}}}\r\n")
    assert event.payload_text == text
    assert (event.event_type, event.metadata) == ("a A", {"payload": "not this one"})


@given(
    json_texts(BREAKS),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1),
    st.dictionaries(st.text(), st.text()),
    st.integers(1, 2**63 - 1),
    st.integers(0, 10**15),
)
def test_a_record_comes_back_from_its_line_byte_for_byte(
    text: str, event_type: str, metadata: dict[str, str], number: int, microseconds: int
) -> None:
    occurred_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    line = line_from_record(EventRecord(number, occurred_at, event_type, text, metadata))
    assert line.encode().count(b"\n") == 1
    assert "\r" not in line
    event = event_from_line(line)
    assert (event.payload_text, event.event_type, event.metadata) == (text, event_type, metadata)
    read = json.loads(line)
    assert read["payload"] == json.loads(text)
    assert datetime.fromisoformat(read["occurred_at"]) == occurred_at
    assert read["sequence_number"] == number


def test_a_payload_without_line_breaks_is_written_once_as_it_is() -> None:
    record = EventRecord(7, datetime(2026, 1, 2, tzinfo=UTC), "ä", '{ "b":1.0,"a":[ ] }', {"k": "ü"})
    assert line_from_record(record) == (
        '{"sequence_number":7,"occurred_at":"2026-01-02T00:00:00.000000Z","event_type":"ä",'
        '"metadata":{"k":"ü"},"payload":{ "b":1.0,"a":[ ] }}\n'
    )


def test_a_payload_with_line_breaks_is_followed_by_its_exact_text() -> None:
    record = EventRecord(7, datetime(2026, 1, 2, tzinfo=UTC), "a", '{\n"b":\r1}')
    assert line_from_record(record).endswith('"payload":{ "b": 1},"payload_text":"{\\n\\"b\\":\\r1}"}\n')


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("", "column 1: '{' expected"),
        ("[1]", "column 1: '{' expected"),
        ("{}", "event_type is missing"),
        ('{"event_type":"a"}', "payload is missing"),
        ('{"event_type":7,"payload":1}', "event_type is 7; it must be a string"),
        ('{"event_type":"a","payload":1,"colour":2}', "unknown member 'colour'"),
        ('{"event_type":"a","payload":1,"payload":2}', "column 31: payload appears twice"),
        ('{"event_type":"a","payload":}', "column 29: Expecting value"),
        ('{"event_type":"a","payload":1', "column 30: '}' expected"),
        ('{"event_type":"a","payload":1} {}', "column 32: more text after the JSON object"),
        ('{"event_type":"a","payload":1,}', "column 31: "),
        ('{"event_type":"a","payload":01}', "column 30: '}' expected"),
        ('{"event_type":"a","payload":NaN}', "NaN is not JSON"),
        ('{"event_type":"a","payload":[-Infinity]}', "-Infinity is not JSON"),
        ('{"event_type":"a","payload":"\t"}', "column 30: Invalid control character at"),
        ('{"event_type" "a","payload":1}', "column 15: ':' expected"),
        ('{1:"a"}', "column 2: a member's name must be a string"),
        ('{"event_type":"a","payload":1,"metadata":{"k":1}}', "metadata must be an object of strings"),
        ('{"event_type":"a","payload":1,"metadata":[]}', "metadata must be an object of strings"),
        ('{"event_type":"a","payload":1,"payload_text":"2"}', "payload_text is not the payload"),
        ('{"event_type":"a","payload":1,"payload_text":1}', "payload_text is not the payload"),
        ('{"event_type":"a","payload":' + "[" * 100_000, "nests too deeply"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_where(line: str, wrong: str) -> None:
    with pytest.raises(BadLine) as raised:
        event_from_line(line)
    assert str(raised.value).startswith(wrong)


@given(st.text(st.sampled_from('{}[]",:0 a\\n'), max_size=20))
def test_whatever_is_taken_as_an_object_is_one(text: str) -> None:
    try:
        members = object_members(text)
    except BadLine:
        return
    assert json.loads(text) == {name: member.value for name, member in members.items()}
    assert all(json.loads(member.text) == member.value for member in members.values())


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 5), st.integers(30, 200))
def test_batches_keep_order_and_limits(sizes: list[int], most_events: int, most_bytes: int) -> None:
    events = [(line, Event("e", "x" * size)) for line, size in enumerate(sizes, 10)]
    cut = list(batches(events, most_events=most_events, most_bytes=most_bytes))
    assert [
        (line, event) for batch in cut for line, event in zip(batch.lines, batch.events, strict=True)
    ] == events
    for batch, following in zip_longest(cut, cut[1:]):
        size = sum(event.to_proto().ByteSize() + 5 for event in batch.events)
        assert len(batch.events) <= most_events
        assert size <= most_bytes or len(batch.events) == 1
        if following:
            # None is shorter than it had to be, so that the cuts depend on nothing but the limits.
            more = following.events[0].to_proto().ByteSize() + 5
            assert len(batch.events) == most_events or size + more > most_bytes


def test_a_batch_is_known_by_the_place_of_its_first_event() -> None:
    events = [(line, Event("e", 1)) for line in range(7)]
    keys = [batch.key("p") for batch in batches(events, most_events=3, most_bytes=1000)]
    assert keys == ["p/0", "p/3", "p/6"]
