"""One page of batches: the matching facts of candidates, gathered by commit, until the page is full."""

from collections.abc import Callable, Iterable
from time import monotonic

from factstr_server.contract.batch_frame import batch_frame
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.paging import (
    MAX_CANDIDATE_BYTES_PER_READ,
    MAX_CANDIDATES_PER_READ,
    MAX_READ_SECONDS,
    Candidate,
)
from factstr_server.stores.protocol import BatchPage, BatchWindow

BatchOf = Callable[[int], tuple[int, int]]
"""The first and last sequence number of the batch that holds a fact."""


def fill_batches(
    query: CompiledQuery, window: BatchWindow, candidates: Iterable[Candidate], batch_of: BatchOf
) -> BatchPage:
    """The page of the candidates, which come in order and end with the window. A batch that was begun is looked at to
    its end, however long that takes: it is never split.
    """
    page = _OpenPage(window)
    size = 0
    deadline = monotonic() + MAX_READ_SECONDS
    first, last, matching = 0, 0, list[bytes]()
    for looked_at, candidate in enumerate(candidates):
        if candidate.sequence_number > last:
            if not page.take(first, last, matching):
                return page.page(first - 1)
            if page.complete:
                return page.page(last)
            first, last = batch_of(candidate.sequence_number)
            matching = []
            if looked_at and (
                looked_at >= MAX_CANDIDATES_PER_READ
                or size > MAX_CANDIDATE_BYTES_PER_READ
                or monotonic() > deadline
            ):
                return page.page(first - 1)
        size += len(candidate.record)
        if candidate.matches(query):
            matching.append(candidate.record)
    if not page.take(first, last, matching):
        return page.page(first - 1)
    return page.page(window.up_to)


class _OpenPage:
    """The batches of a page so far."""

    def __init__(self, window: BatchWindow) -> None:
        self._window = window
        self._frames: list[bytes] = []
        self._ranges: list[tuple[int, int]] = []
        self._size = 0

    @property
    def complete(self) -> bool:
        """No batch more is wanted."""
        return len(self._frames) == self._window.max_batches

    def take(self, first: int, last: int, matching: list[bytes]) -> bool:
        """Adds what matches of a batch, if anything; False when it has no room."""
        if not matching:
            return True
        frame = batch_frame(first, last, matching)
        if self._frames and (self.complete or self._size + len(frame) > self._window.max_bytes):
            return False
        self._frames.append(frame)
        self._ranges.append((first, last))
        self._size += len(frame)
        return True

    def page(self, looked_up_to: int) -> BatchPage:
        return BatchPage(self._frames, self._ranges, max(self._window.after, looked_up_to))
