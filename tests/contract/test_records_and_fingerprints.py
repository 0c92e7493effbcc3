"""What is written by hand equals what the generated code writes; a fingerprint stands for exactly one request."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import Condition, PreparedAppend, committed_event, prepare_append
from factstr_server.contract.query import EventFilter, EventQuery, compile_query
from factstr_server.contract.record import occurred_at_field, record_prefix, varint
from factstr_server.contract.validation import Violations
from factstr_server.log.append_pipeline import Answer
from factstr_server.log.event_log import AppendResult, QueryPart
from factstr_server.rpc.append_stream import append_stream_responses
from factstr_server.rpc.translation import append_response, query_response
from factstr_server.stores.protocol import Committed, Repeated
from tests.contract.json_strategies import texts

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
events = st.builds(
    lambda event_type, payload, metadata: event_pb2.NewEvent(
        event_type=event_type, payload=payload, metadata=metadata
    ),
    names,
    texts,
    st.dictionaries(values.filter(bool).map(lambda key: key[:100]), values, max_size=4),
)
microseconds = st.one_of(st.integers(0, 253_402_300_799_999_999), st.sampled_from([0, 1, 999_999, 1_000_000]))
positions = st.one_of(st.integers(1, 2**63 - 1), st.sampled_from([1, 127, 128, 2**14, 2**63 - 1]))


def prepared(
    new: list[event_pb2.NewEvent], key: str = "", condition: Condition | None = None
) -> PreparedAppend:
    return prepare_append(new, Violations(), idempotency_key=key, condition=condition)


def assert_encodes(encoded: bytes, message: event_pb2.EventRecord | pb.QueryResponse) -> None:
    """The same bytes, but for the order of a map's entries, which no encoder promises."""
    generated = message.SerializeToString(deterministic=True)
    assert type(message).FromString(encoded) == message
    assert sorted(encoded) == sorted(generated)
    records = message.event_records if isinstance(message, pb.QueryResponse) else [message]
    if all(len(record.metadata) < 2 for record in records):
        assert encoded == generated


@given(events, positions, microseconds)
def test_a_record_is_what_the_generated_code_would_write(
    new: event_pb2.NewEvent, position: int, moment: int
) -> None:
    [encoded] = prepared([new]).events
    record = event_pb2.EventRecord(
        sequence_number=position,
        occurred_at=Timestamp(seconds=moment // 1_000_000, nanos=moment % 1_000_000 * 1_000),
        event_type=new.event_type,
        metadata=new.metadata,
        payload=new.payload,
    )
    assert_encodes(record_prefix(position, occurred_at_field(moment)) + encoded.body, record)
    assert encoded.payload == new.payload.encode()


@given(events, positions, microseconds)
def test_a_committed_record_gives_the_event_back(new: event_pb2.NewEvent, position: int, moment: int) -> None:
    [encoded] = prepared([new]).events
    occurred_at, event = committed_event(record_prefix(position, occurred_at_field(moment)) + encoded.body)
    assert occurred_at == moment
    assert set(event.terms.split()) == set(encoded.terms.split())
    assert event._replace(terms="") == encoded._replace(terms="", metadata_text=None)


@given(events)
def test_an_event_counts_as_many_bytes_as_the_generated_code_writes(new: event_pb2.NewEvent) -> None:
    append = prepared([new, new])
    assert append.size == 2 * new.ByteSize()
    assert len(append.events[0].body) == new.ByteSize()


@given(events, positions, microseconds)
def test_a_record_is_at_most_25_bytes_longer_than_its_event(
    new: event_pb2.NewEvent, position: int, moment: int
) -> None:
    [encoded] = prepared([new]).events
    assert len(record_prefix(position, occurred_at_field(moment)) + encoded.body) <= new.ByteSize() + 25


@given(st.lists(events, max_size=3), st.none() | positions, st.none() | positions)
def test_a_query_response_is_what_the_generated_code_would_write(
    new: list[event_pb2.NewEvent], last: int | None, version: int | None
) -> None:
    records = [
        record_prefix(number, occurred_at_field(0)) + prepared([event]).events[0].body
        for number, event in enumerate(new, 1)
    ]
    response = pb.QueryResponse(
        event_records=[event_pb2.EventRecord.FromString(record) for record in records],
        last_returned_sequence_number=last,
        current_context_version=version,
    )
    assert_encodes(query_response(QueryPart(records, last, version)), response)


@given(positions, st.integers(0, 9_999), microseconds, st.booleans(), st.integers(0, 2**64 - 1))
def test_the_answer_to_an_append_is_what_the_generated_code_would_write(
    first: int, more: int, moment: int, repeated: bool, correlation_id: int
) -> None:
    result = AppendResult(first, first + more, moment, repeated)
    response = pb.AppendResponse(
        first_sequence_number=first,
        last_sequence_number=first + more,
        committed_count=more + 1,
        occurred_at=Timestamp(seconds=moment // 1_000_000, nanos=moment % 1_000_000 * 1_000),
        repeated_request=repeated,
    )
    assert append_response(result) == response.SerializeToString()
    committed = Committed(first, first + more, moment)
    answer = Answer(correlation_id, Repeated(committed) if repeated else committed)
    outcome = pb.AppendStreamOutcome(correlation_id=correlation_id, committed=response)
    expected = pb.AppendStreamResponse(outcomes=[outcome, outcome]).SerializeToString()
    assert list(append_stream_responses([answer, answer])) == [expected]


@given(st.integers(0, 2**64 - 1))
def test_varints_are_base_128(number: int) -> None:
    encoded = varint(number)
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(encoded)) == number
    assert [byte >> 7 for byte in encoded] == [1] * (len(encoded) - 1) + [0]
    assert encoded[-1] or len(encoded) == 1


def fingerprint(new: list[event_pb2.NewEvent], condition: Condition | None = None) -> bytes:
    idempotency = prepared(new, "k", condition).idempotency
    assert idempotency is not None
    return idempotency.fingerprint


@given(st.lists(events, min_size=1, max_size=3), st.lists(events, min_size=1, max_size=3))
def test_fingerprints_are_equal_exactly_for_equal_requests(
    one: list[event_pb2.NewEvent], other: list[event_pb2.NewEvent]
) -> None:
    assert fingerprint(one) == fingerprint(
        [event_pb2.NewEvent.FromString(e.SerializeToString()) for e in one]
    )
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def compiled(*filters: EventFilter, after: int | None = None) -> Condition:
    violations = Violations()
    query = compile_query(EventQuery(filters, after), violations)
    violations.refuse_if_any()
    return Condition(query, None)


EVENT = event_pb2.NewEvent(event_type="a", payload="{}")

DIFFERENT = [
    (),
    (EventFilter(),),
    (EventFilter(event_types=()),),
    (EventFilter(payload_predicates=()),),
    (EventFilter(event_types=(), payload_predicates=()),),
    (EventFilter(event_types=("a",)),),
    (EventFilter(event_types=("b",)),),
    (EventFilter(event_types=("a", "b")),),
    (EventFilter(event_types=("a",)), EventFilter(event_types=("b",))),
    (EventFilter(event_types=("a",), payload_predicates=()),),
    (EventFilter(event_types=("a",), payload_predicates=("{}",)),),
    (EventFilter(payload_predicates=("{}",)),),
    (EventFilter(payload_predicates=('"{}"',)),),
    (EventFilter(payload_predicates=("[]",)),),
    (EventFilter(payload_predicates=("1",)),),
    (EventFilter(payload_predicates=("true",)),),
    (EventFilter(payload_predicates=('"1"',)),),
    (EventFilter(payload_predicates=("null",)),),
    (EventFilter(payload_predicates=('{"a":null}',)),),
    (EventFilter(payload_predicates=("[[1],[2]]",)),),
    (EventFilter(payload_predicates=("[[1,2]]",)),),
    (EventFilter(payload_predicates=("[1,2]",)),),
    (EventFilter(payload_predicates=("1", "2")),),
]


def test_queries_of_different_meaning_on_paper_have_different_canonical_forms() -> None:
    conditions = [compiled(*filters) for filters in DIFFERENT]
    assert len({condition.query.canonical for condition in conditions}) == len(DIFFERENT)
    assert len({fingerprint([EVENT], condition) for condition in [None, *conditions]}) == len(DIFFERENT) + 1


@pytest.mark.parametrize("expected", [None, 0, 1, 2**63, 2**64 - 1])
def test_every_expected_version_has_a_fingerprint_and_unset_is_0(expected: int | None) -> None:
    query = compiled().query
    own = fingerprint([EVENT], Condition(query, expected))
    assert own == fingerprint([EVENT], Condition(query, expected or 0))
    assert own != fingerprint([EVENT], Condition(query, 7))
    assert own != fingerprint([EVENT])


@given(st.data())
def test_the_order_of_filters_types_and_predicates_and_the_cursor_make_no_difference(
    data: st.DataObject,
) -> None:
    lists = st.lists(texts, max_size=3).map(tuple)
    filters = data.draw(
        st.lists(
            st.builds(EventFilter, st.none() | st.lists(names, max_size=3).map(tuple), st.none() | lists),
            max_size=3,
        )
    )
    shuffled = [
        EventFilter(
            None if f.event_types is None else tuple(data.draw(st.permutations(f.event_types))),
            None
            if f.payload_predicates is None
            else tuple(data.draw(st.permutations(f.payload_predicates))) * 2,
        )
        for f in data.draw(st.permutations(filters))
    ]
    one, other = (
        compiled(*filters),
        compiled(*shuffled, *shuffled[:1], after=data.draw(st.integers(0, 2**64 - 1))),
    )
    assert one.query.canonical == other.query.canonical
    assert fingerprint([EVENT], one) == fingerprint([EVENT], other)
