"""Owns `factstr consume`: a durable stream whose batches are each done when the user's command says so."""

import signal
from argparse import Namespace
from collections.abc import Callable, Iterator

from factstr.batch import DurableBatch
from factstr.cli.durable_failures import in_flags
from factstr.cli.failure import CommandFailed, in_words
from factstr.cli.interruptions import Interruptions
from factstr.cli.ndjson import line_from_record
from factstr.cli.notes import Notes
from factstr.cli.process import how_it_ended, run_command
from factstr.cli.session import open_store, selected_stream
from factstr.cli.stopping import Stopped, Stopping
from factstr.durable_batches import DurableBatches
from factstr.durable_stream import LeaseWaiting
from factstr.errors import DurableStreamNotFound, FactstrError
from factstr.store import EventStore


def run(options: Namespace) -> int:
    """Hand each batch to the command, and acknowledge it after exit code 0."""
    try:
        with Stopping() as stopping:
            return _run(options, stopping)
    except Stopped as stopped:
        if stopped.at_once or stopped.number != signal.SIGTERM:
            raise
        # Whatever supervises a service ends it so; it has done what it was asked for.
        return 0


def _run(options: Namespace, stopping: Stopping) -> int:
    query = selected_stream(options)
    notes = Notes(options)
    interruptions = Interruptions(notes)
    with open_store(options) as store, in_flags(options.name, "--wait waits for it"):
        not_new = None if options.start is None else _cursor_of(store, options.name)
        with store.stream_to_durable(
            options.name,
            query,
            max_unacknowledged_batches=options.max_unacknowledged,
            wait_for_lease=options.wait,
            start=options.start,
            on_waiting=_teller_of_waiting(options.name, notes),
            on_interruption=interruptions.tell,
        ) as batches:
            interruptions.stream = batches
            if not_new is not None:
                notes.event(
                    f"{options.name} is not new, so --from says nothing: it goes on after its cursor, {not_new:,} "
                    "(factstr durable reset moves that)"
                )
            return _Consumer(options, batches, notes, stopping).run()


def _cursor_of(store: EventStore, name: str) -> int | None:
    """Return where a durable stream stands; None when there is none of this name."""
    try:
        return store.durable_stream(name).cursor
    except DurableStreamNotFound:
        return None


def _teller_of_waiting(name: str, notes: Notes) -> Callable[[LeaseWaiting], None]:
    told: set[LeaseWaiting] = set()

    def tell(waiting: LeaseWaiting) -> None:
        # It comes with every heartbeat.
        if waiting not in told:
            told.add(waiting)
            notes.event(
                f"{name} is consumed by {waiting.holder} (lease {waiting.lease_epoch}); waiting for it"
            )

    return tell


class _Consumer:
    """One run: the stream, and what has become of its batches."""

    def __init__(
        self,
        options: Namespace,
        batches: DurableBatches,
        notes: Notes,
        stopping: Stopping,
    ) -> None:
        self._name: str = options.name
        self._command: str = options.command
        self._until_caught_up: bool = options.until_caught_up
        self._batches = batches
        self._notes = notes
        self._stopping = stopping
        self._done = 0
        self._facts = 0

    def run(self) -> int:
        self._notes.progress(
            f"{self._name}: begins after {self._batches.cursor:,}, under lease {self._batches.lease_epoch}"
        )
        for batch in self._all():
            with self._stopping.finishing(f"batch {_range(batch)}, which is under way"):
                self._handle(batch)
            if self._stopping.asked is not None:
                raise Stopped(self._stopping.asked, at_once=False)
        return 0

    def _all(self) -> Iterator[DurableBatch]:
        yield from self._batches.until_caught_up()
        head = self._batches.caught_up or 0
        if self._until_caught_up:
            batches = "1 batch" if self._done == 1 else f"{self._done:,} batches"
            facts = "1 fact" if self._facts == 1 else f"{self._facts:,} facts"
            self._notes.progress(
                f"{self._name}: {batches}, {facts}; all acknowledged up to the head, {head:,}"
            )
            return
        self._notes.progress(f"{self._name}: at the head, {head:,}; waiting")
        yield from self._batches

    def _handle(self, batch: DurableBatch) -> None:
        code = run_command(
            self._command,
            "".join(map(line_from_record, batch.event_records)).encode(),
            {
                "FACTSTR_DURABLE_STREAM": self._name,
                "FACTSTR_FIRST_SEQUENCE_NUMBER": str(batch.first_sequence_number),
                "FACTSTR_LAST_SEQUENCE_NUMBER": str(batch.last_sequence_number),
                "FACTSTR_LEASE_EPOCH": str(batch.lease_epoch),
            },
        )
        if code != 0:
            raise CommandFailed(
                f"{self._name}: the command {how_it_ended(code)} on batch {_range(batch)}; the batch is not "
                "acknowledged and will be delivered again"
            )
        try:
            self._batches.acknowledge(batch)
        except FactstrError as error:
            raise CommandFailed(
                f"{self._name}: the command has done batch {_range(batch)}, but it could not be acknowledged; whoever "
                f"consumes {self._name} next gets it again, unless somebody has by now: {in_words(error)}"
            ) from error
        self._done += 1
        self._facts += len(batch.event_records)


def _range(batch: DurableBatch) -> str:
    if batch.first_sequence_number == batch.last_sequence_number:
        return str(batch.first_sequence_number)
    return f"{batch.first_sequence_number}..{batch.last_sequence_number}"
