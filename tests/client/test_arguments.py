"""An argument that cannot be meant is refused where it is given, by its name, with what would be right."""

from collections.abc import Callable
from typing import Any

import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.fake_server import FakeServer

EVENT = factstr.Event("a", 1)
ALL = factstr.everything()
WRONG: Any = "5"

Call = Callable[[factstr.EventStore], object]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda store: store.append(WRONG),
            r"events is '5' \(a str\); it must be an Event or several of them",
        ),
        (lambda store: store.append([EVENT, WRONG]), r"events\[1\] is '5' \(a str\); it must be an Event"),
        (lambda store: store.append({"a": 1}), r"events is {'a': 1} \(a dict\)"),
        (lambda store: store.append(5), r"events is 5 \(a int\)"),
        (
            lambda store: store.append(EVENT, idempotency_key=7),
            r"idempotency_key is 7 \(a int\); .* a str or None",
        ),
        (lambda store: store.append_if(EVENT, WRONG, 1), r"query is '5' \(a str\); it must be an EventQuery"),
        (
            lambda store: store.append_if(EVENT, ALL, WRONG),
            r"expected_context_version is '5' \(a str\); .* an int",
        ),
        (lambda store: store.append_if(EVENT, ALL, True), r"expected_context_version is True \(a bool\)"),
        (lambda store: store.append_if(EVENT, ALL.after(WRONG), 1), r"min_sequence_number is '5' \(a str\)"),
        (lambda store: store.query(WRONG), r"query is '5' \(a str\)"),
        (lambda store: store.query(limit=WRONG), r"limit is '5' \(a str\); it must be an int or None"),
        (lambda store: store.decide(ALL, lambda _: WRONG), r"events is '5' \(a str\)"),
        (lambda store: store.sequence_number_at(WRONG), r"occurred_at is '5' \(a str\); .* a datetime"),
    ],
)
def test_a_wrong_type_is_refused_by_name(
    fake: FakeServer, store: factstr.EventStore, call: Call, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call(store)
    assert not fake.seen(event_store_service_pb2.AppendRequest)
    assert not fake.seen(event_store_service_pb2.AppendIfRequest)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: factstr.Event(5, 1), r"event_type is 5 \(a int\); it must be a str"),  # type: ignore[arg-type]
        (lambda: factstr.Event("a", 1, {"b": 1}), r"metadata\['b'\] is 1 \(a int\); it must be a str"),  # type: ignore[dict-item]
        (lambda: factstr.Event("a", 1, {1: "b"}), r"a key of metadata is 1 \(a int\)"),  # type: ignore[dict-item]
        (lambda: factstr.Event("a", 1, WRONG), r"metadata is '5' \(a str\); .* a mapping from str to str"),
        (lambda: factstr.where(5), r"an event type is 5 \(a int\)"),  # type: ignore[arg-type]
    ],
)
def test_a_value_is_refused_where_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_an_append_that_no_server_takes_in_is_not_sent(fake: FakeServer, store: factstr.EventStore) -> None:
    event = factstr.Event("a", "x" * 2**20)
    appends: list[Callable[[], object]] = [
        lambda: store.append([event] * 16),
        lambda: store.append_if([event] * 16, ALL, None, idempotency_key="k"),
    ]
    for append in appends:
        with pytest.raises(factstr.BatchTooLarge) as raised:
            append()
        assert raised.value.metadata["limit"] == str(16 * 2**20)
        assert int(raised.value.metadata["actual"]) > 16 * 2**20
    assert not fake.requests
