"""Owns `factstr append` and `factstr append-if`."""

from argparse import Namespace
from collections.abc import Callable

from factstr.cli.failure import CommandFailed, in_lines
from factstr.cli.ndjson import utc
from factstr.cli.output import for_people, write_lines, write_object
from factstr.cli.session import open_store, selected
from factstr.cli.source import open_source
from factstr.errors import InvalidRequest
from factstr.event import AppendResult, Event
from factstr.json_text import JsonText
from factstr.store import EventStore


def run_append(options: Namespace) -> int:
    """Append the events of the flags or of the file as one batch."""
    return _run(options, lambda store, events: store.append(events, idempotency_key=options.idempotency_key))


def run_append_if(options: Namespace) -> int:
    """Append them if the context has the expected version."""
    query = selected(options)
    return _run(
        options,
        lambda store, events: store.append_if(
            events, query, options.expected_version, idempotency_key=options.idempotency_key
        ),
    )


def _run(options: Namespace, append: Callable[[EventStore, list[Event]], AppendResult]) -> int:
    if options.idempotency_key == "":
        options.wrong_usage("--idempotency-key is empty; it takes 1 to 200 characters")
    if options.file is None:
        if options.type is None or options.payload is None:
            options.wrong_usage("give --type and --payload, or a FILE of events (- for stdin)")
        events = [Event(options.type, JsonText(options.payload), dict(options.metadata or []))]
        with open_store(options) as store:
            result = append(store, events)
    else:
        if options.type is not None or options.payload is not None or options.metadata:
            options.wrong_usage("give --type, --payload and --metadata, or a FILE of events, not both")
        result = _append_file(options, append)
    _report(options, result)
    return 0


def _append_file(
    options: Namespace, append: Callable[[EventStore, list[Event]], AppendResult]
) -> AppendResult:
    with open_source(options.file) as source:
        numbered = list(source.events())
    if not numbered:
        raise CommandFailed(f"{source.name}: holds no event; an append needs at least one")
    with open_store(options) as store:
        try:
            return append(store, [event for _, event in numbered])
        except InvalidRequest as error:
            raise CommandFailed(in_lines(error, source.name, [line for line, _ in numbered])) from error


def _report(options: Namespace, result: AppendResult) -> None:
    when = utc(result.occurred_at)
    if not for_people(options):
        write_object(
            {
                "first_sequence_number": result.first_sequence_number,
                "last_sequence_number": result.last_sequence_number,
                "committed_count": result.committed_count,
                "occurred_at": when,
                "repeated_request": result.repeated_request,
            }
        )
        return
    numbers = f"{result.first_sequence_number}"
    if result.committed_count > 1:
        numbers += f" to {result.last_sequence_number}"
    verb = "had been committed before as" if result.repeated_request else "committed as"
    facts = "1 fact" if result.committed_count == 1 else f"{result.committed_count:,} facts"
    write_lines([f"{facts} {verb} {numbers} at {when}\n"])
