"""The wire format of a committed fact: `factstr.v1.EventRecord`, encoded once and then only copied.

A record is a prefix that is known at commit (sequence number, time) and a body that is known before (event type,
metadata, payload). Both are written here by hand because a store needs them apart, and because building a message per
fact costs more than everything else that an append does. A test holds them equal to the generated code's bytes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_MICROSECONDS: Final = 1_000_000


def varint(number: int) -> bytes:
    """Base-128, least significant group first."""
    if number < len(_SHORT):
        return _SHORT[number]
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT: Final = [bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(0x4000)]
"""The one and two bytes of ordinary lengths."""


def text_field(tag: bytes, text: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(text)) + text


def record_body(type_field: bytes, metadata: Mapping[str, str], payload: bytes) -> bytes:
    """Fields 3, 4 and 5; the payload comes last, so that the body's last bytes are the payload's.

    As long as the `NewEvent` that it came from, since every tag takes one byte in both.
    """
    if metadata:
        type_field += b"".join(_metadata_entry(key, metadata[key]) for key in sorted(metadata))
    return type_field + b"\x2a" + varint(len(payload)) + payload


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


def _metadata_entry(key: str, value: str) -> bytes:
    entry = text_field(b"\x0a", key.encode()) + text_field(b"\x12", value.encode())
    return text_field(b"\x22", entry)
