"""An AppendStreamRequest in parts that are messages of their own, and small.

A parsed item takes many times its bytes: two bytes of an empty one become a hundred. So a message is never parsed as a
whole: only its outermost framing is read here, and its items are parsed as far as there is room for them.
"""

from collections import deque
from typing import Final

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.rpc.edge import OFF_LOOP_BYTES
from factstr_server.rpc.unknown_fields import no_such_message, parse_message, unknown_field

MAX_PART_ITEMS: Final = 1_024
MAX_PART_BYTES: Final = OFF_LOOP_BYTES
"""A part that is larger holds a single item."""

_ITEMS_TAG: Final = 0x0A
_DELIMITED, _END_GROUP, _MAX_WIRE_TYPE = 2, 4, 5
_MAX_VARINT_BYTES: Final = 10


def message_parts(raw: bytes) -> deque[bytes]:
    """Parts whose items are those of the message, in order. Raises Refusal for what is no such message, or holds a
    field that this server does not know beside its items: then nothing of it is tried.
    """
    parts: deque[bytes] = deque()
    part = at = items = 0
    try:
        while at < len(raw):
            start = at
            at = at + 1 if raw[at] == _ITEMS_TAG else _after_strange_tag(raw, at)
            length = raw[at]
            at += 1
            if length >= 0x80:
                length, at = _varint(raw, at - 1)
            at += length
            items += 1
            if items > MAX_PART_ITEMS or (at - part > MAX_PART_BYTES and start > part):
                parts.append(raw[part:start])
                part, items = start, 1
    except IndexError:
        raise no_such_message(pb.AppendStreamRequest) from None
    parts.append(raw[part:])
    if len(parts) > 1:  # else whoever takes the only one says what is wrong in it
        for each in parts:
            parse_message(pb.AppendStreamRequest, each)
    return parts


def _after_strange_tag(raw: bytes, at: int) -> int:
    """Behind a tag that is not written as usual. Raises Refusal where it is not that of an item."""
    tag, at = _varint(raw, at)
    number, wire_type = tag >> 3, tag & 7
    if not number or wire_type == _END_GROUP or wire_type > _MAX_WIRE_TYPE:
        raise no_such_message(pb.AppendStreamRequest)
    if (number, wire_type) != (1, _DELIMITED):
        raise unknown_field("", number)
    return at


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise no_such_message(pb.AppendStreamRequest)
