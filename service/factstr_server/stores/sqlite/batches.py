"""Reads of whole batches on one connection, for a replay of everything. Used by one thread at a time.

A replay is bound by the Python steps per fact, and by the interpreter's lock, which changes hands at every row that is
fetched: so SQLite joins the records and their stored framing, and a page is one row (docs/decisions/0009).
"""

from typing import Final

import apsw

from factstr_server.stores.protocol import BatchPage, BatchWindow

_FRAMING_BYTES: Final = 32
"""At most what stands before and after a record, where a page takes more than one."""

_MOST_FACTS: Final = 8_192
"""In a page of joined frames."""

_SIZE: Final = """
    SELECT coalesce(sum(length(record)), 0) FROM records WHERE sequence_number > ?1 AND sequence_number <= ?2
"""
_JOINED: Final = """
    SELECT CAST(group_concat(framed, '') AS BLOB)
    FROM (
        SELECT opening || record || closing AS framed FROM records
        WHERE sequence_number > ?1 AND sequence_number <= ?2 ORDER BY sequence_number
    )
"""
_ONE_BY_ONE: Final = """
    SELECT CAST(opening || record || closing AS BLOB), length(closing) FROM records
    WHERE sequence_number > ?1 AND sequence_number <= ?2 ORDER BY sequence_number
"""


class BatchReader:
    """The batches of the log, as one connection sees it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._framed_after: int = connection.execute("SELECT framed_after FROM store").get
        self._fact_bytes = 1_024
        """A guess at what a fact takes, from the last page."""

    def batch_of(self, sequence_number: int) -> tuple[int, int]:
        """The first and last sequence number of the batch that holds a fact."""
        rows: list[tuple[int, int]] = self._connection.execute(  # type: ignore[assignment]
            "SELECT first_sequence_number, last_sequence_number FROM batches WHERE first_sequence_number <= ? "
            "ORDER BY first_sequence_number DESC LIMIT 1",
            (sequence_number,),
        ).fetchall()
        first, last = rows[0] if rows else (0, 0)
        return (first, last) if last >= sequence_number else (sequence_number, sequence_number)

    def unframed_up_to(self, position: int) -> int:
        """How far a reader at a position has to frame records itself: those from before framing was stored, and the
        rest of a batch that it begins inside of. Not beyond the position where it need not.
        """
        if position < self._framed_after:
            return self._framed_after
        first, last = self.batch_of(position + 1)
        return last if first <= position else position

    def read_all(self, window: BatchWindow) -> BatchPage:
        """The window's batches, unmatched. The window begins where one begins, and framing is stored."""
        return self._joined(window) if window.joined else self._one_by_one(window)

    def _joined(self, window: BatchWindow) -> BatchPage:
        wanted = window.max_bytes // self._fact_bytes
        while True:
            end = self._end_near(window.after, max(min(wanted, window.up_to - window.after, _MOST_FACTS), 1))
            count = end - window.after
            size = self._connection.execute(_SIZE, (window.after, end)).get + _FRAMING_BYTES * count
            if size <= window.max_bytes or self._end_near(window.after, 1) == end:
                break
            wanted = min(count * window.max_bytes // size, count - 1)
        self._fact_bytes = max(size // count, 1)
        frames = self._connection.execute(_JOINED, (window.after, end)).get
        return BatchPage([frames], [(window.after + 1, end)], end)

    def _end_near(self, after: int, count: int) -> int:
        """The end of the last batch within a number of facts; of the first batch where that is longer."""
        first, last = self.batch_of(after + count)
        if last == after + count:
            return last
        return first - 1 if first - 1 > after else last

    def _one_by_one(self, window: BatchWindow) -> BatchPage:
        page = BatchPage([], [], window.after)
        parts: list[bytes] = []
        size = 0
        rows = self._connection.execute(_ONE_BY_ONE, (window.after, window.up_to))
        for number, (part, closing) in enumerate(rows, window.after + 1):
            parts.append(part)
            if closing:
                frame = b"".join(parts)
                size += len(frame)
                if page.frames and size > window.max_bytes:
                    break
                page.frames.append(frame)
                page.ranges.append((page.looked_up_to + 1, number))
                page = page._replace(looked_up_to=number)
                if len(page.frames) == window.max_batches:
                    break
                parts = []
        rows.close()
        return page
