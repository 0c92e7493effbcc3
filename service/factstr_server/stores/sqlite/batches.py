"""Reads of whole batches on one connection, for a replay of everything. Used by one thread at a time.

A replay is bound by the Python steps per fact, so batches of one are fetched and framed many at a time. The log has no
gaps: which fact a record is follows from its place.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

import apsw

from factstr_server.contract.batch_frame import batch_frame, joined_single_frames
from factstr_server.stores.protocol import BatchPage, BatchWindow

_FIRST_ROWS: Final = 8
_MOST_ROWS: Final = 128
"""Rows that are fetched between two looks at their size."""

_FRAME_BYTES: Final = 24
"""About what a batch of one takes beside its record."""


class BatchReader:
    """The batches of the log, as one connection sees it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def batch_of(self, sequence_number: int) -> tuple[int, int]:
        """The first and last sequence number of the batch that holds a fact."""
        rows: list[tuple[int, int]] = self._connection.execute(  # type: ignore[assignment]
            "SELECT first_sequence_number, last_sequence_number FROM batches WHERE first_sequence_number <= ? "
            "ORDER BY first_sequence_number DESC LIMIT 1",
            (sequence_number,),
        ).fetchall()
        first, last = rows[0] if rows else (0, 0)
        return (first, last) if last >= sequence_number else (sequence_number, sequence_number)

    def read_all(self, window: BatchWindow) -> BatchPage:
        """The window's batches, unmatched."""
        page = _Page(window, self._records(window.after, window.up_to, window.max_bytes))
        for first, last in self._of_several(window.after, page.fetched_up_to):
            if not page.take_singles(first - 1):
                break
            if last > page.fetched_up_to and not page.frames:
                page.records += self._records(page.fetched_up_to, last)
            if not page.take_batch(first, last):
                break
        else:
            page.take_singles(page.fetched_up_to)
        return BatchPage(page.frames, page.ranges, page.position)

    def _records(self, after: int, up_to: int, max_bytes: int | None = None) -> list[bytes]:
        """The records of a range, until they take more bytes than that."""
        rows = self._connection.execute(
            "SELECT record FROM records WHERE sequence_number > ?1 AND sequence_number <= ?2 ORDER BY sequence_number",
            (after, up_to),
        )
        if max_bytes is None:
            return [record for (record,) in rows]
        records: list[bytes] = []
        size, count = 0, _FIRST_ROWS
        while size <= max_bytes:
            fetched = [record for (record,) in islice(rows, count)]
            if not fetched:
                break
            records += fetched
            size += sum(map(len, fetched)) + _FRAME_BYTES * len(fetched)
            count = min(max((max_bytes - size) * len(records) // size + 1, 1), _MOST_ROWS)
        rows.close()
        return records

    def _of_several(self, after: int, up_to: int) -> Iterator[tuple[int, int]]:
        """The batches of more than one fact that hold facts of a range."""
        first, last = self.batch_of(after + 1)
        if first != last:
            yield first, last
        yield from self._connection.execute(  # type: ignore[misc]
            "SELECT first_sequence_number, last_sequence_number FROM batches "
            "WHERE first_sequence_number > ?1 AND first_sequence_number <= ?2 ORDER BY first_sequence_number",
            (max(after + 1, last), up_to),
        ).fetchall()


class _Page:
    """A page that is being filled from fetched records, which follow the window's beginning."""

    def __init__(self, window: BatchWindow, records: list[bytes]) -> None:
        self._window = window
        self.records = records
        self.frames: list[bytes] = []
        self.ranges: list[tuple[int, int]] = []
        self.position = window.after
        """Everything up to it is in the page."""
        self._size = 0
        self._batches = 0

    @property
    def fetched_up_to(self) -> int:
        return self._window.after + len(self.records)

    def take_singles(self, up_to: int) -> bool:
        """Adds the batches of one up to a position; False when not all of them have room."""
        records = self._records_up_to(up_to)
        fitting = self._fitting(records)
        first = self.position + 1
        if fitting and self._window.joined:
            self._add(joined_single_frames(first, records[:fitting]), first, first + fitting - 1, fitting)
        else:
            for number, record in enumerate(records[:fitting], first):
                self._add(batch_frame(number, number, [record]), number, number, 1)
        return fitting == len(records)

    def take_batch(self, first: int, last: int) -> bool:
        """Adds a batch of several; False when it has no room, or was not fetched to its end."""
        records = self._records_up_to(last)
        if last > self.fetched_up_to or (self.frames and self._batches == self._window.max_batches):
            return False
        frame = batch_frame(first, last, records)
        if self.frames and self._size + len(frame) > self._window.max_bytes:
            return False
        self._add(frame, first, last, 1)
        return True

    def _records_up_to(self, position: int) -> list[bytes]:
        """Those that are not in the page yet; none when the window begins inside a batch that begins before it."""
        end = max(position, self.position)
        return self.records[self.position - self._window.after : end - self._window.after]

    def _fitting(self, records: list[bytes]) -> int:
        """How many of the records have room as batches of one; a page takes at least one batch."""
        room = self._window.max_bytes - self._size
        fitting = len(records)
        if sum(map(len, records)) + _FRAME_BYTES * fitting > room:
            fitting = bisect_right(list(accumulate(len(record) + _FRAME_BYTES for record in records)), room)
        if self._window.max_batches is not None:
            fitting = min(fitting, self._window.max_batches - self._batches)
        return fitting if self.frames or not records else max(fitting, 1)

    def _add(self, frames: bytes, first: int, last: int, batches: int) -> None:
        self.frames.append(frames)
        self.ranges.append((first, last))
        self.position = last
        self._size += len(frames)
        self._batches += batches
