"""Wire messages to contract values, and results to wire messages."""

from datetime import timedelta
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from factstr.v1 import event_pb2
from factstr_server.contract.errors import Reason
from factstr_server.contract.limits import MAX_QUERY_BYTES
from factstr_server.contract.query import EVERYTHING, CompiledQuery, EventFilter, EventQuery, compile_query
from factstr_server.contract.record import occurred_at_field, text_field, varint
from factstr_server.contract.validation import Violations, durable_stream_problem, invalid_argument
from factstr_server.log.event_log import AppendResult, QueryPart

_SHORT_QUERY_BYTES: Final = 1024
"""Up to which a query is worth the room."""

_MICROSECONDS: Final = 1_000_000
_MOST_SECONDS: Final = 315_576_000_000
_FIRST_SECOND: Final = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


def compiled_query(message: event_pb2.EventQuery, violations: Violations, path: str) -> CompiledQuery:
    """The query of a message; an unset one is an empty one: all facts. Equal messages may share one query."""
    size = message.ByteSize()
    if size > MAX_QUERY_BYTES:
        violations.add(Reason.INVALID_ARGUMENT, path, f"takes {size} bytes; at most {MAX_QUERY_BYTES}")
        return EVERYTHING
    if size <= _SHORT_QUERY_BYTES and (known := _valid_query(message.SerializeToString())):
        return known
    return compile_query(event_query(message), violations, path)


@lru_cache(maxsize=1024)
def _valid_query(encoded: bytes) -> CompiledQuery | None:
    """The query of an encoded message; None where it holds violations, which are said of the place where it is used.

    Cached: a context is asked for again and again, and then stated as a condition.
    """
    violations = Violations()
    query = compile_query(event_query(event_pb2.EventQuery.FromString(encoded)), violations)
    return None if violations else query


def append_response(result: AppendResult) -> bytes:
    """An encoded `AppendResponse`. By hand, as every append is answered with one; a test holds it to the generated
    code.
    """
    return b"\x08%b\x10%b\x18%b\x22%b%b" % (
        varint(result.first_sequence_number),
        varint(result.last_sequence_number),
        varint(result.committed_count),
        occurred_at_field(result.occurred_at)[1:],
        b"\x28\x01" if result.repeated else b"",
    )


def query_response(part: QueryPart) -> bytes:
    """An encoded `QueryResponse` around the records' own bytes."""
    pieces = [text_field(b"\x0a", record) for record in part.records]
    if part.last_returned_sequence_number is not None:
        pieces.append(b"\x10" + varint(part.last_returned_sequence_number))
    if part.context_version is not None:
        pieces.append(b"\x18" + varint(part.context_version))
    return b"".join(pieces)


def timestamp(microseconds: int) -> Timestamp:
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def duration(delta: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(delta)
    return message


def seconds_of(message: Duration, path: str) -> float:
    """The length of a duration. Raises Refusal for what is no length of time."""
    if message.seconds < 0 or not 0 <= message.nanos < 1_000_000_000 or message.seconds > _MOST_SECONDS:
        raise invalid_argument(path, f"is no length of time; from 0 to {_MOST_SECONDS} seconds")
    return message.seconds + message.nanos / 1_000_000_000


def microseconds_of(message: Timestamp, path: str) -> int:
    """The last whole microsecond at or before a timestamp. Raises Refusal for what is no timestamp."""
    if not 0 <= message.nanos < 1_000_000_000 or not _FIRST_SECOND <= message.seconds <= _LAST_SECOND:
        raise invalid_argument(
            path, "is no valid timestamp; from 0001-01-01 to 9999-12-31, nanos from 0 to 999,999,999"
        )
    return message.seconds * _MICROSECONDS + message.nanos // 1000


def check_durable_stream(name: str, violations: Violations | None = None) -> None:
    """Raises Refusal for what is no name, or adds that to `violations`."""
    problem = durable_stream_problem(name)
    if problem and violations is None:
        raise invalid_argument("durable_stream", problem)
    if problem and violations is not None:
        violations.add(Reason.INVALID_ARGUMENT, "durable_stream", problem)


def event_query_message(query: EventQuery) -> event_pb2.EventQuery:
    return event_pb2.EventQuery(
        filters=[
            event_pb2.EventFilter(
                event_types=None if f.event_types is None else event_pb2.EventTypes(any_of=f.event_types),
                payload_predicates=None
                if f.payload_predicates is None
                else event_pb2.PayloadPredicates(any_of=f.payload_predicates),
            )
            for f in query.filters
        ],
        min_sequence_number=query.min_sequence_number,
    )


def event_query(message: event_pb2.EventQuery) -> EventQuery:
    return EventQuery(
        tuple(
            EventFilter(
                tuple(f.event_types.any_of) if f.HasField("event_types") else None,
                tuple(f.payload_predicates.any_of) if f.HasField("payload_predicates") else None,
            )
            for f in message.filters
        ),
        message.min_sequence_number if message.HasField("min_sequence_number") else None,
    )
