"""What is appended: facts of a named file, which is looked at before anything is measured."""

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.facts import COMMON_MEMBER, VARIABLE, FactSource, FactsUnusable, fact_source

PLAIN = '{"event_type":"Opened","payload":{"case":{"id":"1"}}}'
COMMON = '{"event_type":"Opened","payload":{"impact":"Medium","case":{"id":"2","kind":"x"}}}'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "facts.ndjson"))
    return tmp_path / "facts.ndjson"


def source_of(file: Path, *lines: str) -> FactSource:
    file.write_text("\n".join(lines))
    return fact_source()


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '{"payload":{"case":{"id":"1"}}}',
        '{"event_type":"Opened","payload":{}}',
        '{"event_type":"Opened","payload":{"case":"1"}}',
        '{"event_type":"Opened","payload":{"case":{"id":1}}}',
    ],
)
def test_a_line_of_another_form_is_named_with_the_form_that_is_needed(file: Path, line: str) -> None:
    with pytest.raises(FactsUnusable, match=r"facts\.ndjson:3: a line must be of the form \{.*case"):
        source_of(file, PLAIN, "", line)


def test_a_line_that_is_no_json_is_named(file: Path) -> None:
    with pytest.raises(FactsUnusable, match=r"facts\.ndjson:2: "):
        source_of(file, PLAIN, "{")


def test_a_file_without_facts_or_without_a_readable_byte_is_named(file: Path) -> None:
    with pytest.raises(FactsUnusable, match=r"facts\.ndjson: .*No such file"):
        fact_source()
    with pytest.raises(FactsUnusable, match=r"facts\.ndjson: there are no facts"):
        source_of(file, "", " ")
    file.write_bytes(gzip.compress(PLAIN.encode())[:-9])
    with pytest.raises(FactsUnusable, match=r"facts\.ndjson: "):
        fact_source()


def test_facts_begin_again_as_other_cases(file: Path) -> None:
    source = source_of(file, PLAIN, COMMON)
    assert [json.loads(source.fact(number).payload)["case"]["id"] for number in range(4)] == [
        "1",
        "2",
        "1/1",
        "2/1",
    ]


def test_a_fact_of_a_case_holds_the_common_member_wherever_any_fact_does(file: Path) -> None:
    source = source_of(file, PLAIN, COMMON, PLAIN)
    assert source.has_common_member
    assert COMMON_MEMBER in source.fact_of_case(0, "own").payload
    assert json.loads(source.fact_of_case(0, "own").payload)["case"] == {"kind": "x", "id": "own"}
    assert not source_of(file, PLAIN).has_common_member
