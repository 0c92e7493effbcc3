"""Reads of whole batches on one connection, for a replay of everything. Used by one thread at a time.

A replay is bound by the Python steps per fact, and by the interpreter's lock, which changes hands at every row that is
fetched: so SQLite joins the records, which are stored with what stands before them, and a page is one row
(docs/decisions/0009).
"""

from collections.abc import Generator
from contextlib import closing
from typing import Final

import apsw

from factstr_server.contract.batch_frame import BATCH
from factstr_server.stores.protocol import BatchPage, BatchWindow

_MOST_FACTS: Final = 8_192
"""In a page of joined frames."""

_FIRST_GUESS_BYTES: Final = 1_024

_SIZE: Final = "SELECT sum(length(record)) FROM records WHERE sequence_number > ?1 AND sequence_number <= ?2"
_JOINED: Final = """
    SELECT CAST(group_concat(record, '') AS BLOB), min(opening_bytes)
    FROM (
        SELECT record, opening_bytes FROM records
        WHERE sequence_number > ?1 AND sequence_number <= ?2 ORDER BY sequence_number
    )
"""
_ONE_BY_ONE: Final = """
    SELECT record, opening_bytes FROM records
    WHERE sequence_number > ?1 AND sequence_number <= ?2 ORDER BY sequence_number
"""


class BatchReader:
    """The batches of the log, as one connection sees it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._fact_bytes = _FIRST_GUESS_BYTES
        """What a fact took in the last page."""

    def batch_of(self, sequence_number: int) -> tuple[int, int]:
        """The first and last sequence number of the batch that holds a fact."""
        rows: list[tuple[int, int]] = self._connection.execute(  # type: ignore[assignment]
            "SELECT first_sequence_number, last_sequence_number FROM batches WHERE first_sequence_number <= ? "
            "ORDER BY first_sequence_number DESC LIMIT 1",
            (sequence_number,),
        ).fetchall()
        first, last = rows[0] if rows else (0, 0)
        return (first, last) if last >= sequence_number else (sequence_number, sequence_number)

    def read_framed(self, window: BatchWindow) -> BatchPage | None:
        """The window's batches, unmatched, as they are stored; None where a frame is not stored: for a window that
        begins inside a batch, and for records of an earlier format.
        """
        first, _ = self.batch_of(window.after + 1)
        if first <= window.after or window.after >= window.up_to:
            return None
        joined = window.joined and window.max_batches is None
        return self._joined(window) if joined else self._one_by_one(window)

    def _joined(self, window: BatchWindow) -> BatchPage | None:
        """One page, and those after it that are wanted: of large batches fewer."""
        page = self._joined_page(window)
        if page is None:
            return None
        following: list[BatchPage] = []
        last, room = page, window.pages_ahead * window.max_bytes
        while room > 0 and last.looked_up_to < window.up_to:
            ahead = self._joined_page(window._replace(after=last.looked_up_to))
            if ahead is None:
                break
            following.append(ahead)
            last, room = ahead, room - len(ahead.frames[0])
        return page._replace(following=tuple(following))

    def _joined_page(self, window: BatchWindow) -> BatchPage | None:
        """As many whole batches as have room. It is guessed how many that are, and looked at only where that was wrong:
        the connection's limit bounds what a wrong guess can cost.
        """
        end = self._end_near(window.after, self._count(window, window.max_bytes * 7 // 8 // self._fact_bytes))
        try:
            frames, shortest_opening = self._join(window.after, end)
            fits = len(frames) <= window.max_bytes
        except apsw.TooBigError:
            fits = False
        if not fits:
            end = self._fitting_end(window, end)
            frames, shortest_opening = self._join(window.after, end)
        if not shortest_opening:
            return None
        self._fact_bytes = max(len(frames) // (end - window.after), 1)
        return BatchPage([frames], [(window.after + 1, end)], end)

    def _join(self, after: int, end: int) -> tuple[bytes, int]:
        """The frames, and the shortest opening: where that is 0, some records have none, and these are no frames."""
        return self._connection.execute(_JOINED, (after, end)).get  # type: ignore[no-any-return]

    def _fitting_end(self, window: BatchWindow, end: int) -> int:
        """The end of the last batch that has room, or of the first one."""
        while end > self._end_near(window.after, 1):
            size = self._connection.execute(_SIZE, (window.after, end)).get
            if size <= window.max_bytes:
                break
            count = end - window.after
            end = self._end_near(
                window.after, self._count(window, min(count * window.max_bytes // size, count - 1))
            )
        return end

    def _count(self, window: BatchWindow, wanted: int) -> int:
        return max(min(wanted, window.up_to - window.after, _MOST_FACTS), 1)

    def _end_near(self, after: int, count: int) -> int:
        """The end of the last batch within a number of facts; of the first batch where that is longer."""
        first, last = self.batch_of(after + count)
        if last == after + count:
            return last
        return first - 1 if first - 1 > after else last

    def _one_by_one(self, window: BatchWindow) -> BatchPage | None:
        page = BatchPage([], [], window.after)
        size = 0
        with closing(self._frames(window)) as frames:
            for first, last, frame in frames:
                size += len(frame)
                if page.frames and size > window.max_bytes:
                    break
                page.frames.append(frame)
                page.ranges.append((first, last))
                if len(page.frames) == window.max_batches:
                    break
        return page._replace(looked_up_to=page.ranges[-1][1]) if page.frames else None

    def _frames(self, window: BatchWindow) -> Generator[tuple[int, int, bytes], None, None]:
        """First and last number of each stored frame, and the frame: it ends where the next one begins."""
        first, parts = window.after + 1, list[bytes]()
        rows = self._connection.execute(_ONE_BY_ONE, (window.after, window.up_to))
        with closing(rows):
            for number, (record, opening_bytes) in enumerate(rows, first):
                if parts and (not opening_bytes or record.startswith(BATCH)):
                    yield first, number - 1, b"".join(parts)
                    first, parts = number, []
                if not opening_bytes:
                    return
                parts.append(record)
        if parts:
            yield first, first + len(parts) - 1, b"".join(parts)
