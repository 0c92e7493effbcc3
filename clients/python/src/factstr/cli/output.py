"""Owns what goes to stdout: aligned and readable for people, NDJSON for programs."""

import os
import shutil
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import BinaryIO, Final

from factstr.cli.ndjson import line_from_record, to_line, utc
from factstr.event import EventRecord

STANDARD_OUTPUT: Final = "standard output"
"""Its name in messages."""

_WIDEST_TYPE: Final = 40
_LOOK_AHEAD: Final = 50


def for_people(options: Namespace) -> bool:
    """Tell whether to write for people: asked for, or by default when stdout is a terminal."""
    if options.format == "auto":
        return sys.stdout.isatty()
    return bool(options.format == "table")


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Return stdout to write to, and flush it. Raises OSError, which names it."""
    with naming(STANDARD_OUTPUT):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Give an OSError that names no file the name of the place that is written to."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = place
        raise


def write_lines(lines: Iterable[str]) -> None:
    """Write lines as UTF-8 with plain newlines, whatever the locale says."""
    with standard_output() as out:
        for line in lines:
            out.write(line.encode())


def write_object(values: Mapping[str, object]) -> None:
    """Write one JSON object as one line."""
    write_lines([to_line(values) + "\n"])


def write_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Write names and values in two columns."""
    width = max(len(name) for name, _ in fields)
    write_lines(f"{name:<{width}}  {visible(str(value))}\n" for name, value in fields)


def write_records(records: Iterable[EventRecord]) -> None:
    """Write records as NDJSON, payloads byte for byte."""
    write_lines(map(line_from_record, records))


def write_table(records: Iterable[EventRecord]) -> None:
    """Write records in columns, one line each, cut at the terminal's width."""
    remaining = iter(records)
    # The first ones decide how wide the columns are; so a result of any size starts at once.
    first = list(islice(remaining, _LOOK_AHEAD))
    type_width = min(_WIDEST_TYPE, max((_width(visible(r.event_type)) for r in first), default=0))
    number_width = max((len(str(r.sequence_number)) for r in first), default=0)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    write_lines(_row(record, number_width, type_width, width) for record in chain(first, remaining))


def _row(record: EventRecord, number_width: int, type_width: int, width: int | None) -> str:
    event_type = visible(record.event_type)
    lead = f"{record.sequence_number:>{number_width}}  {utc(record.occurred_at)}"
    rest = event_type + " " * (type_width - _width(event_type)) + "  " + visible(record.payload_text)
    if record.metadata:
        rest += "  " + " ".join(f"{visible(key)}={visible(value)}" for key, value in record.metadata.items())
    if width is not None:
        rest = _cut(rest, max(width - len(lead) - 2, 1))
    return f"{_dim(lead)}  {rest}\n"


def visible(text: str) -> str:
    """Return a text without anything that a terminal would obey instead of show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else f"\\u{ord(c):04x}" for c in text)


def _dim(text: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else f"\x1b[2m{text}\x1b[0m"


def _width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width - 1:
            return text[:index] + "…"
    return text
