"""Owns `factstr tail`."""

from argparse import Namespace
from collections.abc import Callable, Sequence

from factstr.cli.interruptions import Interruptions
from factstr.cli.notes import Notes
from factstr.cli.output import for_people, write_records
from factstr.cli.reader_gone import watched_output
from factstr.cli.session import open_store, selected_stream
from factstr.cli.stopping import Stopping
from factstr.cli.table import Rows, write_batch
from factstr.durable_stream import Start
from factstr.errors import StoreClosed
from factstr.event import EventRecord
from factstr.live_stream import LiveStream


def run(options: Namespace) -> int:
    """Write the batches that match, each as soon as it is there, until there are enough."""
    query = selected_stream(options)
    notes = Notes(options)
    interruptions = Interruptions(notes)
    with (
        Stopping(),
        open_store(options) as store,
        store.stream_to(
            query,
            after=None if isinstance(options.start, Start) else options.start,
            on_interruption=interruptions.tell,
        ) as stream,
        watched_output(stream.close) as reader,
    ):
        interruptions.stream = stream
        try:
            _Tail(options, stream, notes).run()
        except StoreClosed:
            # By the watch, for want of a reader, or by nobody that is known here.
            if not reader.is_gone:
                raise
        if reader.is_gone:
            raise BrokenPipeError
    return 0


class _Tail:
    """What is written of a stream, and how much is still to come."""

    def __init__(self, options: Namespace, stream: LiveStream, notes: Notes) -> None:
        self._stream = stream
        self._notes = notes
        self._left: int | None = options.limit
        self._for_people = for_people(options)
        rows = Rows()
        self._write: Callable[[Sequence[EventRecord]], None] = (
            (lambda records: write_batch(rows, records)) if self._for_people else write_records
        )

    def run(self) -> None:
        for batch in self._stream.until_caught_up():
            if self._is_enough(batch.event_records):
                return
        if self._for_people and self._stream.caught_up is not None:
            self._notes.progress(f"at the head, {self._stream.caught_up:,}; waiting")
        for batch in self._stream:
            if self._is_enough(batch.event_records):
                return

    def _is_enough(self, records: Sequence[EventRecord]) -> bool:
        records = records[: self._left]
        self._write(records)
        if self._left is not None:
            self._left -= len(records)
        return self._left == 0
