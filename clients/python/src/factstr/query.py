"""Owns queries as values: which facts to select, written so that a reader of the calling code sees it at once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from factstr.checks import checked_number, wrong_type
from factstr.json_text import JsonText, JsonValue, to_json_text
from factstr.v1 import event_pb2


class _Unset:
    """The default of an argument for which None means something: JSON's null."""

    def __repr__(self) -> str:
        return "unset"


_UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """One alternative of a query: event types AND payload predicates (JSON texts), each any-of.

    None does not constrain; an empty tuple matches nothing.
    """

    event_types: tuple[str, ...] | None = None
    payload_predicates: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """Show it as the call of `where` that makes it."""
        arguments: list[str] = []
        if self.event_types:
            arguments += map(repr, self.event_types)
        elif self.event_types is not None:
            arguments.append("types=()")
        if self.payload_predicates is not None:
            texts = [repr(JsonText(text)) for text in self.payload_predicates]
            arguments.append(
                f"payload={texts[0]}" if len(texts) == 1 else f"payload_any=[{', '.join(texts)}]"
            )
        return f"where({', '.join(arguments)})"

    def to_proto(self) -> event_pb2.EventFilter:
        message = event_pb2.EventFilter()
        # A present but empty list matches nothing; an absent one does not constrain.
        if self.event_types is not None:
            message.event_types.SetInParent()
            message.event_types.any_of.extend(self.event_types)
        if self.payload_predicates is not None:
            message.payload_predicates.SetInParent()
            message.payload_predicates.any_of.extend(self.payload_predicates)
        return message

    @classmethod
    def from_proto(cls, message: event_pb2.EventFilter) -> "EventFilter":
        types, predicates = message.event_types.any_of, message.payload_predicates.any_of
        return cls(
            tuple(types) if message.HasField("event_types") else None,
            tuple(predicates) if message.HasField("payload_predicates") else None,
        )


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Filters joined by OR; without any, every fact. Made by `where` and `everything`, joined by `|`.

    `min_sequence_number` is an exclusive cursor for the returned facts only: it never narrows the context version
    or a condition.
    """

    filters: tuple[EventFilter, ...] = ()
    min_sequence_number: int | None = None

    def __or__(self, other: "EventQuery") -> "EventQuery":
        """Return the query for the facts of either. Raises ValueError when their cursors differ."""
        if not isinstance(other, EventQuery):
            return NotImplemented
        if self.min_sequence_number != other.min_sequence_number:
            raise ValueError("a query has one cursor for all its filters: write (a | b).after(…)")
        # No filter at all means every fact, and every fact or some is every fact.
        filters = self.filters + other.filters if self.filters and other.filters else ()
        return replace(self, filters=filters)

    def after(self, sequence_number: int) -> "EventQuery":
        """Return this query for facts strictly after a sequence number."""
        return replace(self, min_sequence_number=sequence_number)

    def __repr__(self) -> str:
        """Show it as the expression that makes it."""
        text = " | ".join(map(repr, self.filters)) or "everything()"
        if self.min_sequence_number is None:
            return text
        return (
            f"({text}).after({self.min_sequence_number})"
            if len(self.filters) > 1
            else (f"{text}.after({self.min_sequence_number})")
        )

    def to_proto(self) -> event_pb2.EventQuery:
        """Return the message that is sent. Raises ValueError or TypeError for a cursor not from 0 to 2^64 - 1."""
        return event_pb2.EventQuery(
            filters=[alternative.to_proto() for alternative in self.filters],
            min_sequence_number=checked_number("min_sequence_number", self.min_sequence_number),
        )

    @classmethod
    def from_proto(cls, message: event_pb2.EventQuery) -> "EventQuery":
        cursor = message.min_sequence_number if message.HasField("min_sequence_number") else None
        return cls(tuple(map(EventFilter.from_proto, message.filters)), cursor)


EVERYTHING: Final = EventQuery()


def checked_query(query: EventQuery) -> EventQuery:
    """Return the query. Raises TypeError when it is none."""
    if not isinstance(query, EventQuery):
        raise wrong_type("query", query, "an EventQuery, made by where(…) or everything()")
    return query


def everything() -> EventQuery:
    """Return the query for every fact."""
    return EVERYTHING


def where(
    *event_types: str,
    types: Iterable[str] | None = None,
    payload: JsonValue | _Unset = _UNSET,
    payload_any: Iterable[JsonValue] | None = None,
) -> EventQuery:
    """Return the query for facts of any of the types (any type when none is named) that match the payload predicate.

    A predicate matches by recursive subset: `{"tool": {"id": "drill-1"}}` matches every payload that holds at least
    this. `payload_any` takes several, of which any may match. `types` and `payload_any` are for lists made elsewhere:
    an empty one matches nothing. `payload=None` matches only the payload `null`.

        where("tool-registered", "tool-returned", payload={"tool": {"id": "drill-1"}}) | where("audit-started")

    Raises TypeError when types or predicates are given twice, and TypeError or ValueError for a predicate that
    cannot be said in JSON.
    """
    if event_types and types is not None:
        raise TypeError("name the event types, or give them as types=…, not both")
    if not isinstance(payload, _Unset) and payload_any is not None:
        raise TypeError("give one predicate as payload=…, or several as payload_any=…, not both")
    if isinstance(types, str):
        raise TypeError(f"types takes several event types; for one write where({types!r})")
    predicates: tuple[str, ...] | None = None
    if not isinstance(payload, _Unset):
        predicates = (to_json_text(payload),)
    elif payload_any is not None:
        predicates = tuple(map(to_json_text, payload_any))
    named = tuple(types) if types is not None else event_types or None
    for event_type in named or ():
        if not isinstance(event_type, str):
            raise wrong_type("an event type", event_type, "a str")
    return EventQuery((EventFilter(named, predicates),))
