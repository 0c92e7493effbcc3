"""Owns the lines of an NDJSON file: events and records, one a line, with payloads byte for byte.

A payload's text is never parsed and written again: it is copied out of the line where it stands, and into the line
as it is. Only line breaks, which JSON allows between tokens, cannot stay in a line: there the payload is written
with spaces in their place, and its exact text follows as the string `payload_text`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from factstr.event import Event, EventRecord
from factstr.json_text import DECODER, JsonText

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_BREAKS_TO_SPACES: Final = {ord("\n"): " ", ord("\r"): " "}
_OF_EVENTS: Final = frozenset({"event_type", "payload", "metadata"})
_OF_RECORDS: Final = frozenset({"payload_text", "sequence_number", "occurred_at"})


class BadLine(ValueError):
    """A line is not an event or record; the text says why."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a JSON object: its value, and the text of the value as it stands in the source."""

    value: Any
    text: str


def event_from_line(line: str) -> Event:
    """Return the event on a line, written as an event or as `export` writes records. Raises BadLine."""
    members = object_members(line)
    unknown = members.keys() - _OF_EVENTS - _OF_RECORDS
    if unknown:
        raise BadLine(f"unknown member {min(unknown)!r}; an event has event_type, payload and metadata")
    for name in ("event_type", "payload"):
        if name not in members:
            raise BadLine(f"{name} is missing")
    event_type = members["event_type"].value
    if not isinstance(event_type, str):
        raise BadLine(f"event_type is {members['event_type'].text:.64}; it must be a string")
    return Event(event_type, JsonText(_payload_text(members)), _metadata(members))


def line_from_record(record: EventRecord) -> str:
    """Return the line of a record, its newline included."""
    text = record.payload_text
    one_line, exact = text, ""
    if "\n" in text or "\r" in text:
        one_line, exact = text.translate(_BREAKS_TO_SPACES), f',"payload_text":{to_line(text)}'
    return (
        f'{{"sequence_number":{record.sequence_number},"occurred_at":"{utc(record.occurred_at)}",'
        f'"event_type":{to_line(record.event_type)},"metadata":{to_line(dict(record.metadata))},'
        f'"payload":{one_line}{exact}}}\n'
    )


def utc(when: datetime) -> str:
    """Return a moment in UTC as RFC 3339 with microseconds."""
    return when.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_line(value: object) -> str:
    """Return the JSON text of a value on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def object_members(text: str) -> dict[str, Member]:
    """Return the members of the one JSON object that a text holds. Raises BadLine when it holds anything else."""
    members: dict[str, Member] = {}
    try:
        at = _after(text, _skip(text, 0), "{")
        if text[at : at + 1] == "}":
            at += 1
        else:
            while True:
                at = _take_member(text, at, members)
                if text[at : at + 1] != ",":
                    break
                at = _skip(text, at + 1)
            at = _after(text, at, "}")
        if _skip(text, at) != len(text):
            raise BadLine(f"column {at + 1}: more text after the JSON object")
    except json.JSONDecodeError as error:
        raise BadLine(f"column {error.pos + 1}: {error.msg}") from error
    except RecursionError:
        raise BadLine("nests too deeply; at most 64 levels are allowed") from None
    except BadLine:
        raise
    except ValueError as error:
        # NaN and its like, and numbers beyond Python's own limit of digits.
        raise BadLine(str(error)) from error
    return members


def _take_member(text: str, at: int, members: dict[str, Member]) -> int:
    """Read one member into `members` and return the position after it."""
    name, end = DECODER.raw_decode(text, at)
    if not isinstance(name, str):
        raise BadLine(f"column {at + 1}: a member's name must be a string")
    if name in members:
        raise BadLine(f"column {at + 1}: {name} appears twice")
    start = _after(text, _skip(text, end), ":")
    value, end = DECODER.raw_decode(text, start)
    members[name] = Member(value, text[start:end])
    return _skip(text, end)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _after(text: str, at: int, expected: str) -> int:
    if text[at : at + 1] != expected:
        raise BadLine(
            f'column {at + 1}: {expected!r} expected, for a line such as {{"event_type":"…","payload":{{…}}}}'
        )
    return _skip(text, at + 1)


def _payload_text(members: Mapping[str, Member]) -> str:
    written = members["payload"].text
    if "payload_text" not in members:
        return written
    exact = members["payload_text"].value
    if not isinstance(exact, str) or exact.translate(_BREAKS_TO_SPACES) != written:
        raise BadLine("payload_text is not the payload with line breaks; remove one of them")
    return exact


def _metadata(members: Mapping[str, Member]) -> dict[str, str]:
    metadata = members["metadata"].value if "metadata" in members else {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadLine('metadata must be an object of strings, such as {"source":"desk"}')
    return metadata
