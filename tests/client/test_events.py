"""Events, records and moments are values that say exactly what is on the wire."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from factstr import Event, EventRecord
from factstr.event import moment, timestamp_of
from factstr.v1 import event_pb2

RECORD = event_pb2.EventRecord(
    sequence_number=7,
    occurred_at=Timestamp(seconds=1_700_000_000, nanos=123_456_000),
    event_type="tool-registered",
    metadata={"source": "desk"},
    payload='{"id": 18446744073709551616}',
)


def test_an_event_is_a_value() -> None:
    assert Event("a", {"b": 1}, {"k": "v"}) == Event("a", {"b": 1}, {"k": "v"})
    assert len({Event("a", 1), Event("a", 1), Event("a", 1, {"k": "v"})}) == 2
    assert Event("a", 1) != Event("a", 2)


def test_an_event_does_not_follow_its_source() -> None:
    payload, metadata = {"a": 1}, {"k": "v"}
    event = Event("a", payload, metadata)
    payload["a"], metadata["k"] = 2, "w"
    assert (event.payload_text, event.metadata) == ('{"a":1}', {"k": "v"})


def test_an_event_becomes_its_message() -> None:
    assert Event("a", None, {"k": "v"}).to_proto() == event_pb2.NewEvent(
        event_type="a", payload="null", metadata={"k": "v"}
    )


def test_a_lone_surrogate_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        Event("a", "\ud800").to_proto()


def test_a_record_says_what_the_message_says() -> None:
    record = EventRecord.from_proto(RECORD)
    assert record.sequence_number == 7
    assert record.occurred_at == datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)
    assert record.event_type == "tool-registered"
    assert record.metadata == {"source": "desk"}
    assert record.payload_text == '{"id": 18446744073709551616}'
    assert record.payload == {"id": 2**64}


def test_fields_that_a_newer_server_added_are_ignored() -> None:
    added = event_pb2.EventRecord.FromString(RECORD.SerializeToString() + b"\x9a\x06\x03new")
    assert EventRecord.from_proto(added) == EventRecord.from_proto(RECORD)


def test_records_and_events_can_be_copied_and_pickled() -> None:
    for value in (EventRecord.from_proto(RECORD), Event("a", {"b": 1}, {"k": "v"})):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_to_the_microsecond(when: datetime) -> None:
    assert moment(timestamp_of(when)) == when


def test_a_moment_may_be_in_any_time_zone() -> None:
    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert timestamp_of(local) == timestamp_of(datetime(2026, 1, 1, tzinfo=UTC))


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        timestamp_of(datetime(2026, 1, 1))  # noqa: DTZ001
