"""The wire format of delivered batches: `factstr.v1.CommittedBatches.batches`, framed around stored records.

A frame is one field `batches` with its `CommittedBatch`: the numbers of the whole commit, then the records, then
(durable streams) the acknowledgement token. Frames are written by hand, because streams are bound by the Python steps
per fact. A test holds them equal to what the generated code reads.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from factstr_server.contract.record import read_varint, text_field, varint

BATCH: Final = b"\x0a"
"""How a frame begins, and nothing else that stands before a record does."""
_RECORD: Final = b"\x1a"
_TOKEN: Final = b"\x22"


class _Lengths(dict[int, bytes]):
    """A tag and a length, remembered for ordinary lengths: what precedes a length-delimited field."""

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag

    def __missing__(self, length: int) -> bytes:
        prefix = self._tag + varint(length)
        if length < _ORDINARY_BYTES:
            self[length] = prefix
        return prefix


_ORDINARY_BYTES: Final = 16 * 1024
_RECORDS: Final = _Lengths(_RECORD)
_BATCHES: Final = _Lengths(BATCH)


def batch_frame(first: int, last: int, records: Sequence[bytes]) -> bytes:
    """The frame of one batch: the records that are delivered of the commit `first` to `last`."""
    return b"".join(
        chain.from_iterable(zip(openings(first, last, list(map(len, records))), records, strict=True))
    )


def openings(first: int, last: int, sizes: Sequence[int]) -> list[bytes]:
    """What stands before each record, by the records' sizes: joined with the records it is the batch's frame, and
    joined frames are those of consecutive batches.
    """
    if first == last and len(sizes) == 1:
        return [single_opening(varint(first), sizes[0])]
    opened = list(map(_RECORDS.__getitem__, sizes))
    numbers = b"\x08%b\x10%b" % (varint(first), varint(last))
    length = len(numbers) + sum(sizes) + sum(map(len, opened))
    opened[0] = b"%b%b%b" % (_BATCHES[length], numbers, opened[0])
    return opened


def single_opening(number: bytes, size: int) -> bytes:
    """What stands before the record of a batch of one; the number as a varint."""
    record = _RECORDS[size]
    length = 2 + 2 * len(number) + len(record) + size
    return b"%b\x08%b\x10%b%b" % (_BATCHES[length], number, number, record)


class Frame(NamedTuple):
    """A frame taken apart."""

    first: int
    last: int
    records: list[bytes]


def parse_frame(frame: bytes) -> Frame:
    """The frame of one batch, as `batch_frame` made it."""
    _, at = read_varint(frame, 1)
    first, at = read_varint(frame, at + 1)
    last, at = read_varint(frame, at + 1)
    records = []
    while at < len(frame):
        size, at = read_varint(frame, at + 1)
        records.append(frame[at : at + size])
        at += size
    return Frame(first, last, records)


def with_token(frame: bytes, token: str) -> bytes:
    """The frame with an acknowledgement token added to its batch."""
    length_end = 1
    while frame[length_end] & 0x80:
        length_end += 1
    field = text_field(_TOKEN, token.encode())
    return b"%b%b%b" % (_BATCHES[len(frame) - length_end - 1 + len(field)], frame[length_end + 1 :], field)
