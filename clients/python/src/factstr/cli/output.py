"""Owns what goes to stdout, and whether it is for people or, as NDJSON, for programs."""

import sys
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from factstr.cli.ndjson import line_from_record, to_line
from factstr.cli.terminal import cut, dim, line_width, padded, visible, width_of
from factstr.event import EventRecord

STANDARD_OUTPUT: Final = "standard output"
"""Its name in messages."""


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


def write_columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()
) -> None:
    """Write rows under headings, cut at the terminal's width; the columns named in `right` are aligned there."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(headings, *shown, strict=True)]
    line_ends = line_width()

    def line(cells: Sequence[str]) -> str:
        aligned = [
            " " * (width - width_of(cell)) + cell if index in right else padded(cell, width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        text = "  ".join(aligned).rstrip()
        return text if line_ends is None else cut(text, line_ends)

    write_lines([dim(line(headings), sys.stdout) + "\n", *(line(row) + "\n" for row in shown)])


def write_records(records: Iterable[EventRecord]) -> None:
    """Write records as NDJSON, payloads byte for byte."""
    write_lines(map(line_from_record, records))
