"""Owns the request messages of appends, made from values. Pure: both stores send them."""

from collections.abc import Iterable

from factstr.event import Event, as_events
from factstr.query import EventQuery
from factstr.retry import Effect
from factstr.v1 import event_pb2, event_store_service_pb2

LARGEST_UINT64 = 2**64 - 1


def append_request(
    events: Event | Iterable[Event], idempotency_key: str | None
) -> event_store_service_pb2.AppendRequest:
    return event_store_service_pb2.AppendRequest(
        events=_messages(events), idempotency_key=_checked_key(idempotency_key)
    )


def append_if_request(
    events: Event | Iterable[Event],
    query: EventQuery,
    expected_context_version: int | None,
    idempotency_key: str | None,
) -> event_store_service_pb2.AppendIfRequest:
    return event_store_service_pb2.AppendIfRequest(
        events=_messages(events),
        context_query=query.to_proto(),
        expected_context_version=checked_number("expected_context_version", expected_context_version),
        idempotency_key=_checked_key(idempotency_key),
    )


def append_effect(idempotency_key: str | None) -> Effect:
    return Effect.TWICE if idempotency_key is None else Effect.ONCE


def checked_number(name: str, value: int | None) -> int | None:
    """Return the number. Raises ValueError when it is not one that the wire can carry."""
    if value is not None and not 0 <= value <= LARGEST_UINT64:
        raise ValueError(f"{name} is {value}; it must be from 0 to 2^64 - 1")
    return value


def _checked_key(idempotency_key: str | None) -> str:
    # On the wire an empty key is no key: the caller would wrongly believe that a repetition is safe.
    if idempotency_key == "":
        raise ValueError("idempotency_key is empty; give 1 to 200 characters, or None")
    return idempotency_key or ""


def _messages(events: Event | Iterable[Event]) -> list[event_pb2.NewEvent]:
    return [event.to_proto() for event in as_events(events)]
