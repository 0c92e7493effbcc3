"""Owns facts as values: events to append, records that were read, and what an append answered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from factstr.checks import wrong_type
from factstr.json_text import JsonValue, parse_json, to_json_text
from factstr.v1 import event_pb2, event_store_service_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, init=False)
class Event:
    """A fact to append.

    `payload` is any JSON value in Python's types (integers and Decimals keep every digit) or a JsonText, which is
    sent as it is. Its text is made here and now, so a later change to a dictionary changes no event.

    Raises ValueError or TypeError when the payload cannot be said in JSON, TypeError when the event type or the
    metadata hold anything but texts. The limits of the contract are checked
    by the server.
    """

    event_type: str
    payload_text: str
    metadata: Mapping[str, str] = field(hash=False)

    def __init__(
        self, event_type: str, payload: JsonValue, metadata: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(event_type, str):
            raise wrong_type("event_type", event_type, "a str")
        try:
            text = to_json_text(payload)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"the payload of {event_type!r:.64} cannot be written as JSON: {error}"
            ) from error
        object.__setattr__(self, "event_type", event_type)
        object.__setattr__(self, "payload_text", text)
        object.__setattr__(self, "metadata", _texts(metadata) if metadata else {})

    @cached_property
    def payload(self) -> Any:
        """The payload as Python values."""
        return parse_json(self.payload_text)

    def to_proto(self) -> event_pb2.NewEvent:
        """Return the message that is sent. Raises ValueError when a text holds a lone surrogate."""
        try:
            return event_pb2.NewEvent(
                event_type=self.event_type, payload=self.payload_text, metadata=self.metadata
            )
        except UnicodeEncodeError as error:
            raise ValueError(f"the event {self.event_type!r:.64} holds a lone surrogate: {error}") from error


@dataclass(frozen=True)
class EventRecord:
    """A committed fact.

    `sequence_number` is its place in the one global order. `occurred_at` is when its batch was committed, by the
    store's clock, in UTC and microseconds; it is not the order. `payload_text` is the payload as it was appended,
    byte for byte.
    """

    sequence_number: int
    occurred_at: datetime
    event_type: str
    payload_text: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def payload(self) -> Any:
        """The payload as Python values, parsed when first asked for: integers exactly, other numbers as floats.

        For every digit of the others: `json.loads(record.payload_text, parse_float=decimal.Decimal)`.
        """
        return parse_json(self.payload_text)

    @classmethod
    def from_proto(cls, message: event_pb2.EventRecord) -> "EventRecord":
        metadata = message.metadata
        return cls(
            message.sequence_number,
            moment(message.occurred_at),
            message.event_type,
            message.payload,
            dict(metadata) if metadata else {},
        )


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What an append committed: one consecutive range of sequence numbers, all at one time.

    `repeated_request` is true when the idempotency key had been used by the same request before: then this is the
    first result again, and nothing was committed now.
    """

    first_sequence_number: int
    last_sequence_number: int
    committed_count: int
    occurred_at: datetime
    repeated_request: bool

    @classmethod
    def from_proto(cls, message: event_store_service_pb2.AppendResponse) -> "AppendResult":
        return cls(
            message.first_sequence_number,
            message.last_sequence_number,
            message.committed_count,
            moment(message.occurred_at),
            message.repeated_request,
        )


@dataclass(frozen=True, slots=True)
class Context:
    """The facts that a query selected, and the version of the context that they are: None when no fact matches."""

    records: tuple[EventRecord, ...]
    version: int | None


def as_events(events: Event | Iterable[Event] | None) -> tuple[Event, ...]:
    """Return one event, several, or None as a tuple. Raises TypeError for anything else."""
    if events is None:
        return ()
    if isinstance(events, Event):
        return (events,)
    if isinstance(events, str | Mapping) or not isinstance(events, Iterable):
        raise wrong_type("events", events, "an Event or several of them")
    several = tuple(events)
    for index, event in enumerate(several):
        if not isinstance(event, Event):
            raise wrong_type(f"events[{index}]", event, "an Event")
    return several


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise wrong_type("metadata", metadata, "a mapping from str to str")
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise wrong_type("a key of metadata", key, "a str")
        if not isinstance(value, str):
            raise wrong_type(f"metadata[{key!r:.64}]", value, "a str")
    return dict(metadata)


def moment(timestamp: Timestamp) -> datetime:
    """Return a timestamp as an aware datetime in UTC, to the microsecond."""
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)


def duration(message: Duration) -> timedelta:
    """Return a duration, to the microsecond."""
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)


def timestamp_of(when: datetime) -> Timestamp:
    """Return an aware datetime as a timestamp. Raises ValueError for one without a time zone, TypeError for others."""
    if not isinstance(when, datetime):
        raise wrong_type("occurred_at", when, "a datetime with a time zone")
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone; write datetime(…, tzinfo=UTC)")
    since = when - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)
