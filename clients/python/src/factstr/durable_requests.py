"""Owns the request messages about durable streams, made from values. Pure: both stores send them."""

from typing import Final, TypeVar

from factstr.checks import checked_int, checked_text, wrong_type
from factstr.durable_stream import Start
from factstr.query import EventQuery, checked_query
from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2

ANSWER_TIME: Final = 5.0
"""Seconds that a call has beyond what the server is asked to wait."""

_OpenRequest = TypeVar(
    "_OpenRequest",
    event_store_service_pb2.StreamAllDurableRequest,
    event_store_service_pb2.StreamToDurableRequest,
)


def stream_all_durable_request(
    name: str, max_unacknowledged_batches: int, start: int | Start | None, *, wait_for_lease: bool
) -> event_store_service_pb2.StreamAllDurableRequest:
    request = event_store_service_pb2.StreamAllDurableRequest(wait_for_lease=wait_for_lease)
    return _completed(request, name, max_unacknowledged_batches, start)


def stream_to_durable_request(
    name: str,
    query: EventQuery,
    max_unacknowledged_batches: int,
    start: int | Start | None,
    *,
    wait_for_lease: bool,
) -> event_store_service_pb2.StreamToDurableRequest:
    request = event_store_service_pb2.StreamToDurableRequest(
        query=checked_query(query).to_proto(), wait_for_lease=wait_for_lease
    )
    return _completed(request, name, max_unacknowledged_batches, start)


def _completed(
    request: _OpenRequest, name: str, max_unacknowledged_batches: int, start: int | Start | None
) -> _OpenRequest:
    request.durable_stream = checked_text("name", name)
    request.max_unacknowledged_batches = checked_int(
        "max_unacknowledged_batches", max_unacknowledged_batches, bits=32
    )
    if isinstance(start, Start):
        request.start_at_head = True
    elif start is not None:
        request.start_after_sequence_number = checked_int("start", start, right="an int, AT_HEAD or None")
    return request


def list_request(name_prefix: str) -> durable_stream_service_pb2.ListDurableStreamsRequest:
    return durable_stream_service_pb2.ListDurableStreamsRequest(
        name_prefix=checked_text("name_prefix", name_prefix)
    )


def get_request(name: str) -> durable_stream_service_pb2.GetDurableStreamRequest:
    return durable_stream_service_pb2.GetDurableStreamRequest(durable_stream=checked_text("name", name))


def reset_request(
    name: str, cursor: int, *, force: bool
) -> durable_stream_service_pb2.ResetDurableStreamRequest:
    return durable_stream_service_pb2.ResetDurableStreamRequest(
        durable_stream=checked_text("name", name), cursor=checked_int("cursor", cursor), force=force
    )


def delete_request(name: str, *, force: bool) -> durable_stream_service_pb2.DeleteDurableStreamRequest:
    return durable_stream_service_pb2.DeleteDurableStreamRequest(
        durable_stream=checked_text("name", name), force=force
    )


def await_request(
    name: str, sequence_number: int, timeout: float
) -> durable_stream_service_pb2.AwaitDurableStreamRequest:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise wrong_type("timeout", timeout, "a number of seconds")
    return durable_stream_service_pb2.AwaitDurableStreamRequest(
        durable_stream=checked_text("name", name),
        sequence_number=checked_int("sequence_number", sequence_number),
    )


def bounded(
    request: durable_stream_service_pb2.AwaitDurableStreamRequest, seconds: float | None
) -> durable_stream_service_pb2.AwaitDurableStreamRequest:
    """Return the request, for a call that has so many seconds: a repeated one waits only for what is left."""
    request.timeout.FromNanoseconds(round(max(0.0, (seconds or 0.0) - ANSWER_TIME) * 1e9))
    return request
