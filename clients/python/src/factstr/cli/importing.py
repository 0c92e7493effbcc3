"""Owns `factstr import`: a file's events, appended in order, so that doing it again adds only what is missing.

The appends go one after the other, because a later one must never be stored when an earlier one failed. A run
without a prefix of its own gets a random one: its appends can then be repeated after a lost connection too, and
after a failure the message names it, to go on with.
"""

import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from factstr.cli.batches import Batch, batches
from factstr.cli.failure import CommandFailed, in_lines
from factstr.cli.output import for_people, write_lines, write_object
from factstr.cli.progress import Progress
from factstr.cli.session import open_store
from factstr.cli.source import Source, open_source
from factstr.errors import FactstrError, IdempotencyKeyReused
from factstr.retry import Retries
from factstr.store import EventStore

_PATIENT: Final = Retries(limit=100)
"""Every append has a key, so only the timeout needs to bound how long a server may be away."""

_MOST_BYTES: Final = 2**20
"""Of one append. Larger ones save nothing, and let others wait."""


def run(options: Namespace) -> int:
    """Import the file and write the summary."""
    with (
        open_source(options.file) as source,
        open_store(options, _PATIENT) as store,
        Progress(source.name) as progress,
    ):
        import_ = _Import(source, store, options.batch, options.idempotency_prefix or uuid4().hex)
        try:
            import_.run(progress)
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
    batch: int
    prefix: str
    new: int = 0
    already_there: int = 0
    first: int | None = None
    last: int | None = None

    @property
    def stored(self) -> int:
        return self.new + self.already_there

    def run(self, progress: Progress) -> None:
        limits = self.store.server_info().limits
        most_events = min(self.batch, limits["max_events_per_append"] or self.batch)
        most_bytes = min(_MOST_BYTES, limits["max_append_bytes"] or _MOST_BYTES)
        for batch in batches(self.source.events(), most_events=most_events, most_bytes=most_bytes):
            self._append(batch)
            progress.add(
                len(batch.events), self.source.position / self.source.size if self.source.size else None
            )

    def how_to_go_on(self) -> str:
        if not self.stored:
            return "this run has stored nothing"
        return (
            f"{self.stored:,} facts before it are stored ({self.new:,} new, {self.already_there:,} already there); "
            f"go on with --idempotency-prefix {self.prefix} --batch {self.batch}"
        )

    def _append(self, batch: Batch) -> None:
        try:
            result = self.store.append(batch.events, idempotency_key=batch.key(self.prefix))
        except IdempotencyKeyReused as error:
            raise CommandFailed(
                f"{self.source.name}:{batch.lines[0]}: the import {self.prefix!r} has stored other facts at this "
                "place: it was of another file, of this one before it changed, or with another --batch. Repeat it as "
                "it was, or choose another --idempotency-prefix to store all facts once more"
            ) from error
        except FactstrError as error:
            raise CommandFailed(in_lines(error, self.source.name, batch.lines)) from error
        if result.repeated_request:
            self.already_there += len(batch.events)
        else:
            self.new += len(batch.events)
        if self.first is None:
            self.first = result.first_sequence_number
        self.last = result.last_sequence_number


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
