"""The wire format of a committed fact: `factstr.v1.EventRecord`, encoded once and then only copied.

A record is a prefix that is known at commit (sequence number, time) and a body that is known before (event type,
metadata, payload). Both are written here by hand because a store needs them apart, and because building a message per
fact costs more than everything else that an append does. A test holds them equal to the generated code's bytes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

_MICROSECONDS: Final = 1_000_000
_PAYLOAD: Final = b"\x2a"


def varint(number: int) -> bytes:
    """Base-128, least significant group first."""
    if number < 0x4000:
        return _SHORT[number]
    return _CONTINUED[number & 0x3FFF] + varint(number >> 14)


_SHORT: Final = [bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(0x4000)]
"""The one and two bytes of ordinary lengths."""

_CONTINUED: Final = [bytes([n & 0x7F | 0x80, n >> 7 | 0x80]) for n in range(0x4000)]
"""Two bytes that others follow: numbers of facts take three or four."""


def read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place after it."""
    number = shift = 0
    while encoded[at] & 0x80:
        number |= (encoded[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | encoded[at] << shift, at + 1


def text_field(tag: bytes, text: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(text)) + text


def record_body(type_field: bytes, metadata: Mapping[str, str], payload: bytes) -> bytes:
    """Fields 3, 4 and 5; the payload comes last, so that the body's last bytes are the payload's.

    As long as the `NewEvent` that it came from, since every tag takes one byte in both.
    """
    if metadata:
        type_field += b"".join(_metadata_entry(key, metadata[key]) for key in sorted(metadata))
    return type_field + _PAYLOAD + varint(len(payload)) + payload


def event_type_field(event_type: str) -> bytes:
    return text_field(b"\x1a", event_type.encode())


def record_prefix(sequence_number: int, occurred_at_field: bytes) -> bytes:
    """Field 1, and field 2 as `occurred_at_field` gives it."""
    return b"\x08" + varint(sequence_number) + occurred_at_field


@lru_cache(maxsize=16)
def occurred_at_field(microseconds: int) -> bytes:
    """Field 2 of every record of a batch: a Timestamp, from microseconds since 1970."""
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    timestamp = b"\x08" + varint(seconds) if seconds else b""
    if rest:
        timestamp += b"\x10" + varint(rest * 1000)
    return text_field(b"\x12", timestamp)


class RecordParts(NamedTuple):
    """A record taken apart."""

    occurred_at: int
    event_type: str
    body: bytes
    payload_size: int


def parse_record(record: bytes) -> RecordParts:
    """A record as `record_prefix` and `record_body` made it."""
    _, at = read_varint(record, 1)
    size, at = read_varint(record, at + 1)
    occurred_at = _parse_timestamp(record[at : at + size])
    body = record[at + size :]
    size, at = read_varint(body, 1)
    event_type = body[at : at + size].decode()
    at += size
    while body[at] != _PAYLOAD[0]:
        size, at = read_varint(body, at + 1)
        at += size
    payload_size, _ = read_varint(body, at + 1)
    return RecordParts(occurred_at, event_type, body, payload_size)


def _parse_timestamp(encoded: bytes) -> int:
    seconds = nanoseconds = at = 0
    if encoded[:1] == b"\x08":
        seconds, at = read_varint(encoded, 1)
    if at < len(encoded):
        nanoseconds, _ = read_varint(encoded, at + 1)
    return seconds * _MICROSECONDS + nanoseconds // 1000


def _metadata_entry(key: str, value: str) -> bytes:
    entry = text_field(b"\x0a", key.encode()) + text_field(b"\x12", value.encode())
    return text_field(b"\x22", entry)
