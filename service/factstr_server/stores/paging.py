"""One page of a read: which of the candidates match, until the page is full or enough has been looked at."""

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Final, NamedTuple

from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.protocol import Page, Window

MAX_CANDIDATES_PER_READ: Final = 4096
"""A read looks at no more candidates than this before it answers, however few of them match."""

MAX_CANDIDATE_BYTES_PER_READ: Final = 8 * 1024 * 1024
"""Nor at more bytes than this, except for its first candidate."""

MAX_READ_SECONDS: Final = 0.1
"""Nor for longer, so that nobody waits long for a read that its caller has abandoned."""

_FRAME_BYTES: Final = 5
"""Tag and length of a record in a message."""

_MESSAGE_BYTES: Final = 32
"""What a message holds beside its records."""


class Candidate(NamedTuple):
    """A fact that an index proposes."""

    sequence_number: int
    event_type: str
    payload_size: int
    record: bytes

    def matches(self, query: CompiledQuery) -> bool:
        return query.matches(self.event_type, lambda: self.record[-self.payload_size :])


def announced(
    query: CompiledQuery, candidates: Iterable[Candidate], before_match: Callable[[int], object]
) -> Iterator[Candidate]:
    """The candidates; `before_match` is told how many steps it may take to compare each, and may raise."""
    for candidate in candidates:
        before_match(query.steps(candidate.payload_size))
        yield candidate


def fill_page(query: CompiledQuery, window: Window, candidates: Iterable[Candidate]) -> Page:
    """The page of the candidates, which come in the window's order and end with the window.

    `max_facts` of 0 is answered without looking at any.
    """
    records: list[bytes] = []
    size = _MESSAGE_BYTES
    last = None
    looked_up_to = window.before if window.descending else window.after
    if window.max_facts == 0:
        return Page(records, None, looked_up_to, finished=True)
    looked_at = 0
    deadline = monotonic() + MAX_READ_SECONDS
    for number, candidate in enumerate(candidates):
        looked_at += len(candidate.record)
        if number and (
            number == MAX_CANDIDATES_PER_READ
            or looked_at > MAX_CANDIDATE_BYTES_PER_READ
            or monotonic() > deadline
        ):
            return Page(records, last, looked_up_to, finished=False)
        if candidate.matches(query):
            size += len(candidate.record) + _FRAME_BYTES
            if records and size > window.max_bytes:
                return Page(records, last, looked_up_to, finished=False)
            records.append(candidate.record)
            last = candidate.sequence_number
            if len(records) == window.max_facts:
                return Page(records, last, last, finished=True)
        looked_up_to = candidate.sequence_number
    end = window.after if window.descending else window.before - 1
    return Page(records, last, end, finished=True)
