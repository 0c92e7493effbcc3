"""Pages that streams read from the store while earlier ones are being sent, bounded for all streams together.

A page here is only remembered: its stream has not gone past it, and reads it again where it was forgotten.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from factstr_server.stores.protocol import BatchPage

MAX_READ_AHEAD_BYTES: Final = 32 * 1024 * 1024


class ReadAhead:
    """The bound. Beyond it the pages of the stream that took or added one longest ago are forgotten: most likely nobody
    reads from it.
    """

    def __init__(self, max_bytes: int = MAX_READ_AHEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._holders: dict[PagesAhead, None] = {}
        """Streams that hold pages, in the order in which they last took or added one."""

    def changed(self, pages: "PagesAhead", by: int) -> None:
        """A stream has taken or added so many bytes."""
        self._bytes += by
        self._holders.pop(pages, None)
        if pages:
            self._holders[pages] = None
        while self._bytes > self._max_bytes:
            next(iter(self._holders)).forget()


class PagesAhead:
    """Of one stream, in order and without a gap."""

    def __init__(self, shared: ReadAhead) -> None:
        self._shared = shared
        self._pages: deque[BatchPage] = deque()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def newest(self) -> BatchPage:
        return self._pages[-1]

    def add(self, pages: Iterable[BatchPage]) -> None:
        added = list(pages)
        self._pages.extend(added)
        self._shared.changed(self, sum(map(_size, added)))

    def take(self) -> BatchPage:
        page = self._pages.popleft()
        self._shared.changed(self, -_size(page))
        return page

    def forget(self) -> None:
        size = sum(map(_size, self._pages))
        self._pages.clear()
        self._shared.changed(self, -size)


def _size(page: BatchPage) -> int:
    return sum(map(len, page.frames))
