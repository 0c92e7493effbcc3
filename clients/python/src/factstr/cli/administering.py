"""Owns `factstr durable`: looking at durable streams, moving and deleting them, and waiting for one."""

import sys
from argparse import Namespace
from datetime import datetime
from shlex import quote

from google.protobuf import json_format

from factstr.cli.durable_failures import in_flags
from factstr.cli.durations import in_words
from factstr.cli.failure import CommandFailed
from factstr.cli.ndjson import to_line, utc
from factstr.cli.output import for_people, write_columns, write_fields, write_lines, write_object
from factstr.cli.session import open_store
from factstr.durable_stream import DurableStreamInfo, Start

_FORCE = "stop it first, or end its lease with --force"


def run_list(options: Namespace) -> int:
    """Write how the durable streams stand."""
    with open_store(options) as store:
        streams = store.durable_streams(options.prefix)
        if not for_people(options):
            write_lines(to_line(_object(stream)) + "\n" for stream in streams)
            return 0
        rows = [_row(stream) for stream in streams]
    if rows:
        write_columns(("name", "cursor", "head", "lag", "", "waiting", "consumer"), rows, right={1, 2, 3, 5})
    else:
        which = f"whose name begins with {options.prefix!r}" if options.prefix else "yet"
        print(f"there is no durable stream {which}", file=sys.stderr)
    return 0


def run_show(options: Namespace) -> int:
    """Write all about one."""
    with open_store(options) as store, in_flags(options.name, _FORCE):
        stream = store.durable_stream(options.name)
    if for_people(options):
        write_fields(_fields(stream))
    else:
        write_object(_object(stream))
    return 0


def run_reset(options: Namespace) -> int:
    """Move the cursor and say from where to where."""
    with open_store(options) as store, in_flags(options.name, _FORCE):
        before = store.durable_stream(options.name)
        to = before.head_sequence_number if isinstance(options.to, Start) else options.to
        after = store.reset_durable_stream(options.name, to, force=options.force)
    if for_people(options):
        what = f"{options.name}: cursor moved from {before.cursor:,} to {after.cursor:,}"
        write_lines([f"{what}; {_behind(after)}{_ended(before)}\n"])
    else:
        write_object(_object(after))
    return 0


def run_delete(options: Namespace) -> int:
    """Delete it and say where it stood."""
    with open_store(options) as store, in_flags(options.name, _FORCE):
        before = store.durable_stream(options.name)
        store.delete_durable_stream(options.name, force=options.force)
    if for_people(options):
        write_lines([f"{options.name}: deleted; its cursor was {before.cursor:,}{_ended(before)}\n"])
    else:
        write_object({"durable_stream": options.name, "cursor": before.cursor, "deleted": True})
    return 0


def run_await(options: Namespace) -> int:
    """Wait until the cursor has come so far, or --timeout is over."""
    with open_store(options) as store, in_flags(options.name, _FORCE):
        result = store.await_durable_stream(options.name, options.sequence_number, timeout=options.timeout)
    people = for_people(options)
    if not people:
        write_object({"durable_stream": options.name, "cursor": result.cursor, "reached": result.reached})
    if not result.reached:
        raise CommandFailed(
            f"{options.name} has not reached {options.sequence_number:,} within {options.timeout:g} s; "
            f"its cursor is {result.cursor:,}"
        )
    if people:
        write_lines(
            [f"{options.name}: reached {options.sequence_number:,}; its cursor is {result.cursor:,}\n"]
        )
    return 0


def _object(stream: DurableStreamInfo) -> dict[str, object]:
    return {
        "durable_stream": stream.durable_stream,
        "query": _query(stream),
        "cursor": stream.cursor,
        "head_sequence_number": stream.head_sequence_number,
        "lag_events": stream.lag_events,
        "lag_seconds": stream.lag.total_seconds(),
        "active": stream.active,
        "holder": stream.holder,
        "waiting_consumers": stream.waiting_consumers,
        "lease_epoch": stream.lease_epoch,
        "created_at": _moment(stream.created_at),
        "acknowledged_at": _moment(stream.acknowledged_at),
    }


def _query(stream: DurableStreamInfo) -> dict[str, object]:
    """Return the query as --query takes it."""
    return json_format.MessageToDict(stream.query.to_proto(), preserving_proto_field_name=True)


def _moment(when: datetime | None) -> str | None:
    return None if when is None else utc(when)


def _row(stream: DurableStreamInfo) -> tuple[str, ...]:
    return (
        stream.durable_stream,
        f"{stream.cursor:,}",
        f"{stream.head_sequence_number:,}",
        f"{stream.lag_events:,}",
        in_words(stream.lag) if stream.lag_events else "",
        f"{stream.waiting_consumers:,}",
        stream.holder if stream.active else "none",
    )


def _fields(stream: DurableStreamInfo) -> list[tuple[str, object]]:
    consumer = f"{stream.holder}, lease {stream.lease_epoch:,}" if stream.active else "none"
    return [
        ("name", stream.durable_stream),
        ("query", _flags(stream)),
        ("cursor", f"{stream.cursor:,}"),
        ("head", f"{stream.head_sequence_number:,}"),
        ("lag", _lag(stream)),
        ("consumer", consumer),
        ("waiting consumers", f"{stream.waiting_consumers:,}"),
        ("created", _moment(stream.created_at) or "unknown"),
        ("last acknowledged", _moment(stream.acknowledged_at) or "never"),
    ]


def _flags(stream: DurableStreamInfo) -> str:
    """Return the flags of `consume` that describe the query; what they cannot say, --query does."""
    if not stream.query.filters:
        return "everything"
    types, payloads = stream.query.filters[0].event_types, stream.query.filters[0].payload_predicates
    if len(stream.query.filters) > 1 or () in (types, payloads) or types is payloads is None:
        return f"--query {quote(to_line(_query(stream)))}"
    flags = [f"--type {quote(text)}" for text in types or ()]
    return " ".join([*flags, *(f"--payload {quote(text)}" for text in payloads or ())])


def _lag(stream: DurableStreamInfo) -> str:
    if not stream.lag_events:
        return "none"
    facts = "1 fact" if stream.lag_events == 1 else f"{stream.lag_events:,} facts"
    return f"{facts}, {in_words(stream.lag)}"


def _behind(stream: DurableStreamInfo) -> str:
    return f"behind the head by {_lag(stream)}" if stream.lag_events else "that is the head"


def _ended(before: DurableStreamInfo) -> str:
    """Say whose lease was ended, as far as can be known: it may have changed hands meanwhile."""
    return f"; the lease of {before.holder} is ended" if before.active else ""
