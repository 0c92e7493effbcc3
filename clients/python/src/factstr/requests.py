"""Owns the request messages of appends, made from values, and their keys. Pure: both stores send them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar
from uuid import uuid4

import grpc

from factstr.checks import checked_number, wrong_type
from factstr.errors import BatchTooLarge, OutcomeUnknown
from factstr.event import AppendResult, Event, as_events
from factstr.query import EventQuery, checked_query
from factstr.retry import Effect, Retries
from factstr.v1 import event_pb2, event_store_service_pb2

_MOST_BYTES: Final = 16 * 2**20
"""Of one request. Beyond it gRPC refuses on the server's side, with a bare status that leaves the outcome in doubt."""

_ITEM_FRAMING: Final = 32
"""More than an append in a pipeline is longer as a message of its own: tags, lengths, and its correlation id."""

AnyAppendRequest: TypeAlias = event_store_service_pb2.AppendRequest | event_store_service_pb2.AppendIfRequest
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


def append_item(request: AnyAppendRequest) -> event_store_service_pb2.AppendStreamItem:
    """Return the request as one of a pipeline. Raises BatchTooLarge when it fits into none."""
    if isinstance(request, event_store_service_pb2.AppendRequest):
        return event_store_service_pb2.AppendStreamItem(append=_of_possible_size(request, _ITEM_FRAMING))
    return event_store_service_pb2.AppendStreamItem(append_if=_of_possible_size(request, _ITEM_FRAMING))


def made_key(idempotency_key: str | None, retries: Retries) -> str | None:
    """Return the caller's key, or where something is repeated one for this append alone, so that it can be."""
    return str(uuid4()) if idempotency_key is None and retries.limit else idempotency_key


def append_effect(request: AnyAppendRequest) -> Effect:
    return Effect.ONCE if request.idempotency_key else Effect.TWICE


def append_result(
    response: event_store_service_pb2.AppendResponse, idempotency_key: str | None
) -> AppendResult:
    """Return what was committed. Whose caller gave no key has asked once, however often the client did."""
    result = AppendResult.from_proto(response)
    return replace(result, repeated_request=False) if idempotency_key is None else result


@contextmanager
def with_key_in_doubt(request: AnyAppendRequest) -> Iterator[None]:
    """Tell an append whose outcome stays unknown with which key it may be sent again."""
    try:
        yield
    except OutcomeUnknown as unknown:
        unknown.idempotency_key = request.idempotency_key or None
        raise


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
