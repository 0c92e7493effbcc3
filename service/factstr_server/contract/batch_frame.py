"""The wire format of delivered batches: `factstr.v1.CommittedBatches.batches`, framed around stored records.

A frame is one field `batches` with its `CommittedBatch`: the records first, then the numbers of the whole commit, then
(durable streams) the acknowledgement token. Frames are written by hand, because streams are bound by the Python steps
per fact. A test holds them equal to what the generated code reads.
"""

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


def batch_frame(first: int, last: int, records: Sequence[bytes]) -> bytes:
    """The frame of one batch: the records that are delivered of the commit `first` to `last`."""
    body = b"".join(
        chain.from_iterable(zip(map(_RECORDS.__getitem__, map(len, records)), records, strict=True))
    )
    return text_field(_BATCH, b"%b%b" % (body, _numbers(first, last)))


def framing(first: int, last: int, sizes: Sequence[int]) -> list[tuple[bytes, bytes]]:
    """What stands before and after each record of a whole batch, by the records' sizes: joined with them it is the
    batch's frame, and joined frames are those of consecutive batches.
    """
    numbers = _numbers(first, last)
    if first == last:
        return [(_OPENINGS[len(numbers)][sizes[0]], numbers)]
    framed = [(_RECORDS[size], b"") for size in sizes]
    body = sum(sizes) + sum(len(opening) for opening, _ in framed)
    framed[0] = (_BATCHES[body + len(numbers)] + framed[0][0], b"")
    framed[-1] = (framed[-1][0], numbers)
    return framed


def with_token(frame: bytes, token: str) -> bytes:
    """The frame with an acknowledgement token added to its batch."""
    length_end = 1
    while frame[length_end] & 0x80:
        length_end += 1
    field = text_field(_TOKEN, token.encode())
    return b"%b%b%b" % (_BATCHES[len(frame) - length_end - 1 + len(field)], frame[length_end + 1 :], field)


def _numbers(first: int, last: int) -> bytes:
    begin = varint(first)
    return b"\x08%b\x10%b" % (begin, begin if first == last else varint(last))
