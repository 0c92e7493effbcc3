"""Owns the request messages of appends, made from values. Pure: both stores send them."""

from collections.abc import Iterable
from typing import Final, TypeVar

import grpc

from factstr.checks import checked_number, wrong_type
from factstr.errors import BatchTooLarge
from factstr.event import Event, as_events
from factstr.query import EventQuery, checked_query
from factstr.retry import Effect
from factstr.v1 import event_pb2, event_store_service_pb2

_MOST_BYTES: Final = 16 * 2**20
"""Of one request. Beyond it gRPC refuses on the server's side, with a bare status that leaves the outcome in doubt."""

_ITEM_FRAMING: Final = 32
"""More than an append in a pipeline is longer as a message of its own: tags, lengths, and its correlation id."""

_Request = TypeVar("_Request", event_store_service_pb2.AppendRequest, event_store_service_pb2.AppendIfRequest)


def append_request(
    events: Event | Iterable[Event], idempotency_key: str | None
) -> event_store_service_pb2.AppendRequest:
    return _of_possible_size(
        event_store_service_pb2.AppendRequest(
            events=_messages(events), idempotency_key=_checked_key(idempotency_key)
        )
    )


def append_if_request(
    events: Event | Iterable[Event],
    query: EventQuery,
    expected_context_version: int | None,
    idempotency_key: str | None,
) -> event_store_service_pb2.AppendIfRequest:
    return _of_possible_size(
        event_store_service_pb2.AppendIfRequest(
            events=_messages(events),
            context_query=checked_query(query).to_proto(),
            expected_context_version=checked_number("expected_context_version", expected_context_version),
            idempotency_key=_checked_key(idempotency_key),
        )
    )


def append_item(
    request: event_store_service_pb2.AppendRequest | event_store_service_pb2.AppendIfRequest,
) -> event_store_service_pb2.AppendStreamItem:
    """Return the request as one of a pipeline. Raises BatchTooLarge when it fits into none."""
    if isinstance(request, event_store_service_pb2.AppendRequest):
        return event_store_service_pb2.AppendStreamItem(append=_of_possible_size(request, _ITEM_FRAMING))
    return event_store_service_pb2.AppendStreamItem(append_if=_of_possible_size(request, _ITEM_FRAMING))


def append_effect(idempotency_key: str | None) -> Effect:
    return Effect.TWICE if idempotency_key is None else Effect.ONCE


def _of_possible_size(request: _Request, framing: int = 0) -> _Request:
    """Return the request. Raises BatchTooLarge when no server would take it in."""
    size = request.ByteSize() + framing
    if size > _MOST_BYTES:
        raise BatchTooLarge(
            f"events: a request of {size} bytes; it takes at most {_MOST_BYTES}, split it",
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="BATCH_TOO_LARGE",
            metadata={"limit_name": "max_request_bytes", "limit": str(_MOST_BYTES), "actual": str(size)},
        )
    return request


def _checked_key(idempotency_key: str | None) -> str:
    if idempotency_key is not None and not isinstance(idempotency_key, str):
        raise wrong_type("idempotency_key", idempotency_key, "a str or None")
    # On the wire an empty key is no key: the caller would wrongly believe that a repetition is safe.
    if idempotency_key == "":
        raise ValueError("idempotency_key is empty; give 1 to 200 characters, or None")
    return idempotency_key or ""


def _messages(events: Event | Iterable[Event]) -> list[event_pb2.NewEvent]:
    return [event.to_proto() for event in as_events(events)]
