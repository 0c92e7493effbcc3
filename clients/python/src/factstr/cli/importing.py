"""Owns `factstr import`: a file's events, appended in order, so that doing it again adds only what is missing.

One append is under way at a time, because a later one must never be stored when an earlier one failed; the next is read
and made meanwhile. A run without a prefix of its own gets a random one: its appends can then be repeated after a lost
connection too, and whenever it may have stored something, the message of a failure names it, to go on with.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from factstr.cli.batches import Batch, batches
from factstr.cli.failure import CommandFailed, in_lines
from factstr.cli.output import for_people, write_lines, write_object
from factstr.cli.progress import Progress
from factstr.cli.session import open_store
from factstr.cli.source import Source, open_source
from factstr.errors import FactstrError, IdempotencyKeyReused, OutcomeUnknown
from factstr.pending_append import PendingAppend
from factstr.retry import Retries
from factstr.store import EventStore

_PATIENT: Final = Retries(limit=100)
"""A server that is away at the beginning is waited for as one that goes away later: only the timeout bounds it."""

_MOST_BYTES: Final = 2**20
"""Of one append. Larger ones save nothing, and let others wait."""


def run(options: Namespace) -> int:
    """Import the file and write the summary."""
    with (
        open_source(options.file) as source,
        open_store(options, _PATIENT) as store,
        Progress(source.name) as progress,
    ):
        import_ = _Import(source, store, progress, options.batch, options.idempotency_prefix or uuid4().hex)
        try:
            import_.run()
        except CommandFailed as failure:
            raise CommandFailed(f"{failure}\n{import_.how_to_go_on()}") from failure
        except KeyboardInterrupt:
            print(f"\nfactstr: stopped; {import_.how_to_go_on()}", file=sys.stderr)
            raise
    _report(options, import_, progress)
    return 0


@dataclass(slots=True)
class _Import:
    """One run: what it reads, under which prefix it stores, and what it has stored so far."""

    source: Source
    store: EventStore
    progress: Progress
    batch: int
    prefix: str
    new: int = 0
    already_there: int = 0
    first: int | None = None
    last: int | None = None
    # The batch that was put last, until its answer is counted; the append, once it is there.
    put: Batch | None = None
    pending: PendingAppend | None = None

    @property
    def stored(self) -> int:
        return self.new + self.already_there

    def run(self) -> None:
        limits = self.store.server_info().limits
        most_events = min(self.batch, limits["max_events_per_append"] or self.batch)
        most_bytes = min(_MOST_BYTES, limits["max_append_bytes"] or _MOST_BYTES)
        to_store = batches(self.source.events(), most_events=most_events, most_bytes=most_bytes)
        with self.store.appender() as appender:
            while True:
                try:
                    batch = next(to_store, None)
                except CommandFailed:
                    # What is under way comes before the bad line, and so does what may be wrong with it.
                    self._finish()
                    raise
                self._finish()
                if batch is None:
                    return
                self.put = batch
                with self._naming_lines(batch):
                    try:
                        self.pending = appender.append(batch.events, idempotency_key=batch.key(self.prefix))
                    except FactstrError:
                        # It is sent to nobody.
                        self.put = None
                        raise

    def how_to_go_on(self) -> str:
        """Return what is stored, of a run that has ended early; its appender has ended with it."""
        in_doubt = self._in_doubt()
        if not (self.stored or in_doubt):
            return "this run has stored nothing"
        return (
            f"{'at least ' if in_doubt else ''}{self.stored:,} facts are stored "
            f"({self.new:,} new, {self.already_there:,} already there)"
            f"{f', and the next {in_doubt:,} may be' if in_doubt else ''}; "
            f"go on with --idempotency-prefix {self.prefix} --batch {self.batch}"
        )

    def _in_doubt(self) -> int:
        """Return how many facts may or may not be stored; those of an answer that has come meanwhile are counted."""
        if self.put is None:
            return 0
        if self.pending is not None and self.pending.done():
            error = self.pending.exception()
            if error is None:
                self._finish()
            if not isinstance(error, OutcomeUnknown):
                return 0
        return len(self.put.events)

    def _finish(self) -> None:
        """Wait for the answer to what is under way, and count it."""
        batch, pending = self.put, self.pending
        if batch is None or pending is None:
            return
        with self._naming_lines(batch):
            result = pending.result()
        self.put = self.pending = None
        if result.repeated_request:
            self.already_there += len(batch.events)
        else:
            self.new += len(batch.events)
        if self.first is None:
            self.first = result.first_sequence_number
        self.last = result.last_sequence_number
        size = self.source.size
        self.progress.add(len(batch.events), self.source.position / size if size else None)

    @contextmanager
    def _naming_lines(self, batch: Batch) -> Iterator[None]:
        """Say of what the server refuses on which lines it stands."""
        try:
            yield
        except IdempotencyKeyReused as error:
            raise CommandFailed(
                f"{self.source.name}:{batch.lines[0]}: the import {self.prefix!r} has stored other facts at this "
                "place: it was of another file, of this one before it changed, or with another --batch. Repeat it as "
                "it was, or choose another --idempotency-prefix to store all facts once more"
            ) from error
        except FactstrError as error:
            raise CommandFailed(in_lines(error, self.source.name, batch.lines)) from error


def _report(options: Namespace, import_: _Import, progress: Progress) -> None:
    if for_people(options):
        counts = f"{import_.stored:,} facts, {import_.new:,} new, {import_.already_there:,} already there"
        speed = f"{progress.seconds:.1f} s, {progress.rate:,.0f} facts/s"
        write_lines([f"{import_.source.name}: {counts} ({speed})\n"])
        return
    write_object(
        {
            "facts": import_.stored,
            "new": import_.new,
            "already_there": import_.already_there,
            "first_sequence_number": import_.first,
            "last_sequence_number": import_.last,
            "seconds": round(progress.seconds, 3),
            "idempotency_prefix": import_.prefix,
        }
    )
