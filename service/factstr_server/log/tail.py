"""The tail: the newest batches, in memory, shared by all streams and bounded by bytes.

A batch stands here as its append was prepared, and is encoded when the first stream wants it: a log that nobody streams
pays nothing per fact.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from factstr_server.contract.append import EncodedEvent, PreparedAppend
from factstr_server.contract.batch_frame import batch_frame
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.record import occurred_at_field, record_prefix
from factstr_server.stores.protocol import BatchPage, BatchWindow, Committed

MAX_TAIL_BYTES: Final = 32 * 1024 * 1024

MAX_MATCHED_HERE_BYTES: Final = 64 * 1024
"""A payload above this is matched where the store reads, in a thread, so that the event loop goes on."""

_MAX_EVENTS_PER_READ: Final = 2_000
"""How many facts a filtered read looks at before it lets others go on."""

_EVENT_OVERHEAD_BYTES: Final = 400
"""What an event takes beside its texts."""


class TailBatch:
    """A committed batch."""

    def __init__(self, committed: Committed, append: PreparedAppend) -> None:
        self.first, self.last, self._occurred_at = committed
        self.events = append.events
        # Its events, its frame once somebody wants it, and the index terms, about as long as an event's text.
        self.cost = 3 * append.size + _EVENT_OVERHEAD_BYTES * len(append.events)

    @cached_property
    def frame(self) -> bytes:
        """The whole batch, encoded: the same bytes for every stream that delivers all of it."""
        return batch_frame(self.first, self.last, self._records(self.first, self.events))

    def frame_after(self, position: int) -> bytes:
        """The batch without its facts up to a position."""
        if position < self.first:
            return self.frame
        events = self.events[position + 1 - self.first :]
        return batch_frame(self.first, self.last, self._records(position + 1, events))

    def matching_frame(self, query: CompiledQuery, candidates: Iterable[int]) -> bytes | None:
        """The part of the batch that matches, of some of its facts; None when nothing does. Raises TooLarge."""
        events = ((number, self.events[number - self.first]) for number in candidates)
        records = [
            self._record(number, event)
            for number, event in events
            if query.may_match(event.event_type, event.terms) and _matches(query, event)
        ]
        return batch_frame(self.first, self.last, records) if records else None

    def _records(self, first: int, events: Sequence[EncodedEvent]) -> list[bytes]:
        return [self._record(number, event) for number, event in enumerate(events, first)]

    def _record(self, number: int, event: EncodedEvent) -> bytes:
        return record_prefix(number, occurred_at_field(self._occurred_at)) + event.body


class TooLargeError(Exception):
    """A payload is too large to be matched in the event loop."""


class Tail:
    """Consecutive batches up to the newest one."""

    def __init__(self, max_bytes: int = MAX_TAIL_BYTES) -> None:
        self._max_bytes = max_bytes
        self._batches: list[TailBatch] = []
        self._lasts: list[int] = []
        self._bytes = 0
        self.begins_after = 0
        """Facts up to it must be asked of the store."""

    @property
    def size(self) -> tuple[int, int]:
        """How many batches it holds, and the bytes that they count for."""
        return len(self._batches), self._bytes

    def begin_after(self, position: int) -> None:
        """Forgets everything: the next batch follows a position."""
        self._batches.clear()
        self._lasts.clear()
        self._bytes = 0
        self.begins_after = position

    def append(self, batch: TailBatch) -> None:
        self._batches.append(batch)
        self._lasts.append(batch.last)
        self._bytes += batch.cost
        if self._bytes > self._max_bytes:
            self._forget_oldest()

    def read(
        self, query: CompiledQuery, window: BatchWindow, candidates: Sequence[int] | None = None
    ) -> BatchPage | None:
        """One page of the window's batches; None where the store must be asked. Where the only facts of the window that
        can match are known, no other is looked at.
        """
        if window.after < self.begins_after:
            return None
        try:
            if candidates is not None:
                return self._read_candidates(query, window, candidates)
            return self._read(query, window)
        except TooLargeError:
            return None

    def _read(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        page = _Page(window)
        looked_at = 0
        for index in range(bisect_right(self._lasts, window.after), len(self._batches)):
            batch = self._batches[index]
            if batch.last > window.up_to or looked_at >= _MAX_EVENTS_PER_READ:
                break
            if query.everything:
                frame: bytes | None = batch.frame_after(window.after)
            else:
                wanted = range(max(batch.first, window.after + 1), batch.last + 1)
                frame = batch.matching_frame(query, wanted)
                looked_at += len(wanted)
            if not page.take(batch, frame):
                break
        return page.page()

    def _read_candidates(
        self, query: CompiledQuery, window: BatchWindow, candidates: Sequence[int]
    ) -> BatchPage:
        """They are in order, and in the window."""
        page = _Page(window)
        at = 0
        while at < len(candidates):
            batch = self._batches[bisect_left(self._lasts, candidates[at])]
            end = bisect_right(candidates, batch.last, at)
            page.pass_to(batch.first - 1)
            if at >= _MAX_EVENTS_PER_READ or not page.take(
                batch, batch.matching_frame(query, candidates[at:end])
            ):
                return page.page()
            at = end
        page.pass_to(window.up_to)
        return page.page()

    def _forget_oldest(self) -> None:
        """Makes more room than is needed now, so that most appends move nothing."""
        wanted = self._max_bytes * 7 // 8
        forgotten = 0
        while self._bytes > wanted and forgotten < len(self._batches):
            self._bytes -= self._batches[forgotten].cost
            forgotten += 1
        self.begins_after = self._lasts[forgotten - 1]
        del self._batches[:forgotten], self._lasts[:forgotten]


class _Page:
    """A page that is being filled."""

    def __init__(self, window: BatchWindow) -> None:
        self._window = window
        self._frames: list[bytes] = []
        self._ranges: list[tuple[int, int]] = []
        self._size = 0
        self._looked_up_to = window.after

    def take(self, batch: TailBatch, frame: bytes | None) -> bool:
        """Adds what is delivered of a batch, if anything; False when it has no room."""
        if frame:
            size = self._size + len(frame)
            full = size > self._window.max_bytes or len(self._frames) == self._window.max_batches
            if self._frames and full:
                return False
            self._size = size
            self._frames.append(frame)
            self._ranges.append((batch.first, batch.last))
        self._looked_up_to = batch.last
        return True

    def pass_to(self, position: int) -> None:
        """Nothing up to it matches that is not in the page."""
        self._looked_up_to = max(self._looked_up_to, position)

    def page(self) -> BatchPage:
        return BatchPage(self._frames, self._ranges, self._looked_up_to)


def _matches(query: CompiledQuery, event: EncodedEvent) -> bool:
    def payload() -> bytes:
        if event.payload_size > MAX_MATCHED_HERE_BYTES:
            raise TooLargeError
        return event.payload

    return query.matches(event.event_type, payload)
