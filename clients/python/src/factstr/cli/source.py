"""Owns reading lines from a file or stdin, gzip or not, and knowing how far it has come."""

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from factstr.cli.failure import CommandFailed
from factstr.cli.ndjson import BadLine, event_from_line
from factstr.event import Event

_GZIP: Final = b"\x1f\x8b"
_LONGEST_LINE: Final = 16 * 2**20
"""Bytes; more than any fact that a server takes, so that a file without line ends cannot fill the memory."""


class _Counted(io.RawIOBase):
    """The bytes of a stream, counted as they are read; its first ones can be looked at before."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.head = stream.read(len(_GZIP))
        self._ahead = self.head
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._ahead or self._stream.read(len(buffer))
        self._ahead = b""
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class Source:
    """The lines of one input, with its name for messages and its size in bytes where that is known."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.size = _size(stream)
        self._bytes = _Counted(stream)
        lines = io.BufferedReader(self._bytes)
        self._lines: io.BufferedIOBase = gzip.GzipFile(fileobj=lines) if self._bytes.head == _GZIP else lines

    @property
    def position(self) -> int:
        """How many bytes have been read, as they are stored."""
        return self._bytes.count

    def events(self) -> Iterator[tuple[int, Event]]:
        """Return each event with the number of its line. Raises CommandFailed, which names the bad line."""
        for number, line in self._numbered():
            if not line.strip():
                continue
            try:
                yield number, event_from_line(line.decode())
            except UnicodeDecodeError as error:
                raise CommandFailed(f"{self.name}:{number}: not UTF-8 at byte {error.start + 1}") from error
            except BadLine as error:
                raise CommandFailed(f"{self.name}:{number}: {error}") from error

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while True:
            number += 1
            try:
                line = self._lines.readline(_LONGEST_LINE + 1)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise CommandFailed(
                    f"{self.name}:{number}: the gzip data ends or breaks here: {error}"
                ) from error
            except OSError as error:
                raise CommandFailed(f"{self.name}:{number}: cannot be read: {error.strerror}") from error
            if not line:
                return
            if len(line) > _LONGEST_LINE:
                raise CommandFailed(f"{self.name}:{number}: longer than {_LONGEST_LINE:,} bytes")
            # A byte order mark says nothing in UTF-8, but some editors write it.
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a file, or stdin for `-`. Raises OSError."""
    if path == "-":
        yield Source("<stdin>", sys.stdin.buffer)
    else:
        with open(path, "rb") as stream:  # noqa: PTH123  (Path would rewrite the name that messages show)
            yield Source(path, stream)


def _size(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
