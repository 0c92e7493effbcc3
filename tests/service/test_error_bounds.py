"""Errors stay small, or they are lost on the way: violations, message, details, and quoted input."""

import re

import pytest
from google.rpc import error_details_pb2

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import NewFact, refused, where
from tests.conformance.wire import Wire, failure_of, new_events
from tests.service import raw

LONGEST_QUOTE = 64


async def test_an_error_names_at_most_8_violations_and_counts_the_rest(server: Wire) -> None:
    for wrong, more in ((1, None), (8, None), (9, "1"), (500, "492")):
        with refused("INVALID_PAYLOAD") as caught:
            await server.append([NewFact(payload="{")] * wrong)
        assert caught.value.fields == [f"events[{i}].payload" for i in range(min(wrong, 8))]
        assert caught.value.metadata.get("more_violations") == more
        assert await server.head() == 0


async def test_the_first_violation_gives_the_reason_and_the_message(server: Wire) -> None:
    with refused("INVALID_METADATA") as caught:
        await server.append([NewFact(metadata={"": "v"}), NewFact(""), NewFact(payload="{")])
    assert caught.value.fields == ['events[0].metadata[""]', "events[1].event_type", "events[2].payload"]
    assert caught.value.message.startswith('events[0].metadata[""]: ')


async def test_violations_of_the_query_come_before_those_of_the_events(server: Wire) -> None:
    with refused("INVALID_PREDICATE") as caught:
        await server.append_if([NewFact("")], where("{"), None, key="\n")
    assert caught.value.fields == [
        "context_query.filters[0].payload_predicates.any_of[0]",
        "events[0].event_type",
        "idempotency_key",
    ]


HOSTILE = [
    pytest.param(lambda q: NewFact(q * 400), id="event type"),
    pytest.param(lambda q: NewFact(payload=q * 400), id="no JSON"),
    pytest.param(lambda q: NewFact(payload=f'"{q * 400}'), id="open string"),
    pytest.param(lambda q: NewFact(payload=f'"{q * 400}\\u0000"'), id="U+0000"),
    pytest.param(lambda q: NewFact(payload=f'"{q * 400}\\ud800"'), id="lone surrogate"),
    pytest.param(lambda q: NewFact(payload=f'{{"{q * 400}\\u0000":1}}'), id="key"),
    pytest.param(lambda q: NewFact(payload="7" * 400), id="number"),
    pytest.param(lambda q: NewFact(metadata={q * 400: "v"}), id="metadata key"),
    pytest.param(lambda q: NewFact(metadata={"k": q * 20_000}), id="metadata value"),
    pytest.param(lambda q: NewFact(metadata={f"{q * 100}{i}\0": "v" for i in range(60)}), id="metadata keys"),
]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("letter", ["Q", "é", "\U0001f600"])
async def test_an_error_quotes_at_most_64_characters_and_stays_within_3_kib(
    server: Wire, make: "object", letter: str
) -> None:
    assert callable(make)
    fact: NewFact = make(letter)
    for count in (1, 9):
        error = await raw.error(server, raw.APPEND, pb.AppendRequest(events=new_events([fact] * count)))
        assert_modest(raw.details(error).SerializeToString().decode("utf-8", "replace"), letter)
        assert_modest(error.details() or "", letter)
    assert await server.head() == 0


@pytest.mark.parametrize("letter", ["Q", "é", "\U0001f600"])
async def test_a_reused_key_is_quoted_in_part(server: Wire, letter: str) -> None:
    key = letter * 200
    await server.append([NewFact("a")], key=key)
    request = pb.AppendRequest(events=new_events([NewFact("b")]), idempotency_key=key)
    error = await raw.error(server, raw.APPEND, request)
    assert failure_of(error).reason == "IDEMPOTENCY_KEY_REUSED"
    assert_modest(str(raw.details(error).SerializeToString().decode("utf-8", "replace")), letter)


async def test_an_unknown_header_is_quoted_in_part(server: Wire) -> None:
    header = "factstr-" + "q" * 1_000
    error = await raw.error(server, raw.INFO, b"", ((header, "x"),))
    assert failure_of(error).reason == "UNSUPPORTED_FIELD"
    assert_modest(raw.details(error).SerializeToString().decode("utf-8", "replace"), "q")


def assert_modest(text: str, letter: str) -> None:
    longest = max((len(run) for run in re.findall(f"(?:{letter})+|7+", text)), default=0)
    assert longest <= LONGEST_QUOTE


async def test_quoted_input_is_printable_and_on_one_line(server: Wire) -> None:
    control = "\\u0001\n\x1b[31m\u202e\u2028"
    with refused("INVALID_PAYLOAD") as caught:
        await server.append([NewFact(payload=f"[{control}")])
    for text in (caught.value.message, caught.value.violations[0].description):
        assert text.isprintable(), text


async def test_long_violations_that_do_not_fit_are_counted_instead_of_named(server: Wire) -> None:
    """Long paths and long quotations, as long as they get."""
    wide = '"' + "\U0001f600" * 400 + '\\u0000"'
    none = event_pb2.EventFilter(event_types=event_pb2.EventTypes())
    bad = event_pb2.EventFilter(
        payload_predicates=event_pb2.PayloadPredicates(any_of=["{}"] * 900 + [wide] * 9)
    )
    request = pb.AppendIfRequest(
        events=new_events([NewFact()]), context_query=event_pb2.EventQuery(filters=[none] * 1_000 + [bad])
    )
    error = await raw.error(server, raw.APPEND_IF, request)
    bad_request = raw.detail(error, error_details_pb2.BadRequest)
    info = raw.detail(error, error_details_pb2.ErrorInfo)
    assert bad_request is not None
    assert info is not None
    named = [violation.field for violation in bad_request.field_violations]
    assert named == [
        f"context_query.filters[1000].payload_predicates.any_of[{i}]" for i in range(900, 900 + len(named))
    ]
    assert 1 <= len(named) < 8, "longer than what fits, or this tries nothing"
    assert len(named) + int(info.metadata["more_violations"]) == 9
