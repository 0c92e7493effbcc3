"""The wire format of delivered batches: `factstr.v1.CommittedBatches.batches`, framed around stored records.

A frame is one field `batches` with its `CommittedBatch`: the records first, then the numbers of the whole commit, then
(durable streams) the acknowledgement token. Frames are written by hand, and batches of one fact many at a time, because
a replay is bound by the Python steps per fact. A test holds them equal to what the generated code reads.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain
from typing import Final

from factstr_server.contract.record import text_field, varint

_BATCH: Final = b"\x0a"
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


class _Openings(dict[int, bytes]):
    """What precedes the record of a batch of one, by the record's length: its own length and the batch's depend on
    nothing else, as long as the batch's numbers take the same number of bytes.
    """

    def __init__(self, numbers_size: int) -> None:
        super().__init__()
        self._numbers_size = numbers_size

    def __missing__(self, length: int) -> bytes:
        record = _RECORD + varint(length)
        opening = _BATCH + varint(len(record) + length + self._numbers_size) + record
        if length < _ORDINARY_BYTES:
            self[length] = opening
        return opening


_ORDINARY_BYTES: Final = 16 * 1024
_RECORDS: Final = _Lengths(_RECORD)
_BATCHES: Final = _Lengths(_BATCH)
_OPENINGS: Final = {size: _Openings(size) for size in range(4, 23, 2)}

_BLOCK: Final = 128
# The numbers of 128 batches of one whose sequence numbers differ in their lowest seven bits alone. A zero byte stands
# for the bytes that they share, and nothing else here is zero.
_NUMBERS: Final = b"".join(b"\x08%c\0\x10%c\0" % (low, low) for low in range(0x80, 0x100))


def batch_frame(first: int, last: int, records: Sequence[bytes]) -> bytes:
    """The frame of one batch: the records that are delivered of the commit `first` to `last`."""
    body = b"".join(
        chain.from_iterable(zip(map(_RECORDS.__getitem__, map(len, records)), records, strict=True))
    )
    return text_field(_BATCH, b"%b%b" % (body, _numbers(first, last)))


def joined_single_frames(first: int, records: Sequence[bytes]) -> bytes:
    """The frames of consecutive batches of one, joined; the first one's sequence number is `first`."""
    numbers = _single_numbers(first, len(records))
    if not records or len(numbers[0]) == len(numbers[-1]):
        return _joined(records, numbers)
    # Sequence numbers begin to take another byte somewhere in between.
    sizes = list(map(len, numbers))
    longer = bisect_right(sizes, sizes[0])
    return _joined(records[:longer], numbers[:longer]) + joined_single_frames(
        first + longer, records[longer:]
    )


def with_token(frame: bytes, token: str) -> bytes:
    """The frame with an acknowledgement token added to its batch."""
    length_end = 1
    while frame[length_end] & 0x80:
        length_end += 1
    field = text_field(_TOKEN, token.encode())
    return b"%b%b%b" % (_BATCHES[len(frame) - length_end - 1 + len(field)], frame[length_end + 1 :], field)


def _joined(records: Sequence[bytes], numbers: Sequence[bytes]) -> bytes:
    """The frames of batches of one whose numbers take the same number of bytes."""
    if not records:
        return b""
    openings = map(_OPENINGS[len(numbers[0])].__getitem__, map(len, records))
    return b"".join(chain.from_iterable(zip(openings, records, numbers, strict=True)))


def _numbers(first: int, last: int) -> bytes:
    return b"\x08%b\x10%b" % (varint(first), varint(last))


def _single_numbers(first: int, count: int) -> list[bytes]:
    """`_numbers(n, n)` for each of the batches of one."""
    end = first + count
    numbers = [_numbers(n, n) for n in range(first, min(end, _BLOCK))]
    for block in range(max(first, _BLOCK) // _BLOCK, -(-end // _BLOCK)):
        shared = varint(block)
        size = 4 + 2 * len(shared)
        of_block = _NUMBERS.replace(b"\0", shared)
        begin, stop = max(first - block * _BLOCK, 0), min(end - block * _BLOCK, _BLOCK)
        numbers += [of_block[at : at + size] for at in range(begin * size, stop * size, size)]
    return numbers
