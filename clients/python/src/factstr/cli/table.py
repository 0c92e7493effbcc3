"""Owns how facts look to people: in columns, one line each, those of one batch visibly together."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

from factstr.cli.ndjson import utc
from factstr.cli.output import write_lines
from factstr.cli.terminal import cut, dim, line_width, padded, visible, width_of
from factstr.event import EventRecord

_WIDEST_TYPE: Final = 40
_LOOK_AHEAD: Final = 50


class Rows:
    """Lays out records; each column is as wide as the widest it has been made for so far."""

    def __init__(self) -> None:
        self._number_width = 0
        self._type_width = 0

    def widen_for(self, records: Iterable[EventRecord]) -> None:
        for record in records:
            self._number_width = max(self._number_width, len(str(record.sequence_number)))
            self._type_width = max(self._type_width, min(_WIDEST_TYPE, width_of(visible(record.event_type))))

    def row(self, record: EventRecord, width: int | None, mark: str = "") -> str:
        """Return the line of a record, cut at `width`, with what shows its place in a batch before it."""
        lead = f"{mark}{record.sequence_number:>{self._number_width}}  {utc(record.occurred_at)}"
        rest = padded(visible(record.event_type), self._type_width) + "  " + visible(record.payload_text)
        if record.metadata:
            rest += "  " + " ".join(
                f"{visible(key)}={visible(value)}" for key, value in record.metadata.items()
            )
        if width is not None:
            rest = cut(rest, max(width - len(lead) - 2, 1))
        return f"{dim(lead, sys.stdout)}  {rest}\n"


def write_table(records: Iterable[EventRecord]) -> None:
    """Write records in columns, one line each, cut at the terminal's width."""
    remaining = iter(records)
    # The first ones decide how wide the columns are; so a result of any size starts at once.
    first = list(islice(remaining, _LOOK_AHEAD))
    rows, width = Rows(), line_width()
    rows.widen_for(first)
    write_lines(rows.row(record, width) for record in chain(first, remaining))


def write_batch(rows: Rows, records: Sequence[EventRecord]) -> None:
    """Write what was committed together, with a bracket around it when it is more than one fact."""
    width = line_width()
    rows.widen_for(records)
    write_lines(
        rows.row(record, width, mark) for record, mark in zip(records, _bracket(len(records)), strict=True)
    )


def _bracket(count: int) -> Iterator[str]:
    if count == 1:
        yield "  "
        return
    yield "┌ "
    yield from ["│ "] * (count - 2)
    yield "└ "
