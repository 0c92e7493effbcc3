"""Whether a file holds what a store must hold: SQLite's own check, then all that the contract and the schema promise.

One read transaction, so that servers may write meanwhile. What is wrong is a finding, a sentence that says where; the
checks go on behind it. Memory is bounded by the largest batch, and by a number for each thousand facts.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from factstr_server.contract.acknowledgement import KEY_BYTES
from factstr_server.contract.errors import excerpt
from factstr_server.contract.limits import MAX_EVENTS_PER_APPEND
from factstr_server.contract.query import compile_query, query_from_text
from factstr_server.contract.validation import Violations, durable_stream_problem, idempotency_key_problem
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.backing_up import Progress
from factstr_server.stores.sqlite.database import (
    BACKUP_ID,
    NEWEST_FORMAT,
    check_application,
    check_place,
    execute_schema,
    format_of,
    open_beside_server,
    told,
    told_of,
)
from factstr_server.stores.sqlite.verifying_facts import Findings, IndexSums, verify_facts

_MOST_OF_SQLITE: Final = 20
"""Lines of SQLite's own check."""

_INSTRUCTIONS_UNINTERRUPTED: Final = 1_000_000
"""Of SQLite: after so many an interrupt is heard."""

_KEYS: Final = """
    SELECT
        k.first_sequence_number, k.last_sequence_number, k.occurred_at, k.idempotency_key, length(k.fingerprint),
        r.occurred_at, b.first_sequence_number, b.last_sequence_number
    FROM idempotency_keys AS k
    LEFT JOIN records AS r ON r.sequence_number = k.first_sequence_number
    LEFT JOIN batches AS b ON b.first_sequence_number =
        (SELECT max(first_sequence_number) FROM batches WHERE first_sequence_number <= k.first_sequence_number)
    ORDER BY k.first_sequence_number
"""
_STREAMS: Final = """
    SELECT durable_stream, query, canonical_query, cursor, d.lease_epoch, last_lease_epoch
    FROM durable_streams AS d CROSS JOIN store ORDER BY durable_stream
"""
_TIMES: Final = """
    SELECT NULL, 'created', created_at FROM store
    UNION ALL SELECT durable_stream, 'created', created_at FROM durable_streams
    UNION ALL SELECT durable_stream, 'acknowledged', acknowledged_at FROM durable_streams
    WHERE acknowledged_at IS NOT NULL
"""
_FINGERPRINT_BYTES: Final = 32
_DAY_MICROSECONDS: Final = 86_400_000_000


class Verified(NamedTuple):
    """What was looked at, and what is wrong with it."""

    facts: int
    batches: int
    keys: int
    durable_streams: int
    findings: Sequence[str]
    """The first ones."""
    more: int
    """How many others there are."""


def verify_file(database: Path, progress: Progress) -> Verified:
    """A store or a backup. Raises StoreError for what is neither, and what this version cannot read."""
    check_place(database)
    with told_of(database), closing(open_beside_server(database)) as connection:
        backup = connection.pragma("application_id") == BACKUP_ID
        if not backup and not check_application(connection, database):
            raise StoreError(f"there is no store in {database}")
        found = format_of(connection, database)
        if found < NEWEST_FORMAT:
            raise StoreError(
                f"{database} has the earlier format {found}; "
                + (
                    f"restoring brings it to format {NEWEST_FORMAT}, and verifies that"
                    if backup
                    else f"bring it to format {NEWEST_FORMAT} first: factstr-server migrate --store sqlite:///{database}"
                )
            )
        return verify_database(connection, progress)


def verify_database(connection: apsw.Connection, progress: Progress) -> Verified:
    """A store of this version's format, at one moment."""
    connection.set_progress_handler(lambda: False, _INSTRUCTIONS_UNINTERRUPTED)
    connection.execute("BEGIN")
    findings = Findings()
    facts = batches = keys = durable_streams = 0
    with _read(findings, "the file"):
        kib = connection.pragma("page_count") * connection.pragma("page_size") // 1024
        progress("checking the file", 0, kib, "KiB")
        _verify_structure(connection, findings)
        progress("checking the file", kib, kib, "KiB")
    with _read(findings, "the table batches"):
        _verify_batches(connection, findings)
    with _read(findings, "the facts or their index"):
        sums = IndexSums()
        facts, batches = verify_facts(connection, findings, sums, progress)
        sums.verify(connection, findings, facts, progress)
    with _read(findings, "the table idempotency_keys"):
        keys = _verify_keys(connection, findings)
    with _read(findings, "the table durable_streams"):
        durable_streams = _verify_streams(connection, findings, facts)
    with _read(findings, "the times of the store and of its durable streams"):
        _verify_times(connection, findings)
    with _read(findings, "the file"):  # FTS5 reads its tables once more
        connection.execute("COMMIT")
    return Verified(facts, batches, keys, durable_streams, findings.shown, findings.more)


@contextmanager
def _read(findings: Findings, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  (where the file is damaged, anything may stand in it)
        place = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
        findings.add(f"{what} cannot be read to the end{place}: {told(error)}")


def _verify_structure(connection: apsw.Connection, findings: Findings) -> None:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_OF_SQLITE})"):
        if line != "ok":
            findings.add(f"SQLite finds the file damaged: {' '.join(str(line).split())}")
    with closing(apsw.Connection(":memory:")) as empty:
        execute_schema(empty)
        ours, there = _definitions(empty), _definitions(connection)
    for name, sql in ours.items():
        if there.get(name) != sql:
            findings.add(f"the definition of {name} is {'another one' if name in there else 'missing'}")
    for name in sorted(there.keys() - ours.keys()):
        findings.add(f"{excerpt(name)} is not part of a store; drop it")
    rows = connection.execute(
        "SELECT store_id <> '' AND history_id <> '' AND last_lease_epoch >= 0, length(acknowledgement_key) FROM store"
    ).fetchall()
    if rows != [(1, KEY_BYTES)]:
        findings.add("the table store does not say which store this is")


def _definitions(connection: apsw.Connection) -> dict[str, str]:
    """Without what SQLite makes for itself."""
    rows = connection.execute(
        "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return dict(rows.fetchall())  # type: ignore[arg-type]


def _verify_batches(connection: apsw.Connection, findings: Findings) -> None:
    head = connection.execute("SELECT coalesce(max(sequence_number), 0) FROM records").get
    before = 0
    for first, last in connection.execute(
        "SELECT first_sequence_number, last_sequence_number FROM batches ORDER BY first_sequence_number"
    ):
        name = f"the batch of facts {first} to {last}"
        if not first < last < first + MAX_EVENTS_PER_APPEND:
            findings.add(f"{name} does not hold 2 to {MAX_EVENTS_PER_APPEND} facts")
        if first <= before:
            findings.add(f"{name} overlaps the one before, which ends with {before}")
        if last > head:
            findings.add(f"{name} goes beyond the head {head}")
        before = max(before, last)


def _verify_keys(connection: apsw.Connection, findings: Findings) -> int:
    count = 0
    for row in connection.execute(_KEYS):
        count += 1
        first, last, occurred_at, key, fingerprint_bytes, committed_at, batch_first, batch_last = row
        name = f"the idempotency key {excerpt(key)!r} (facts {first} to {last})"
        batch = (
            (batch_first, batch_last) if batch_last is not None and batch_last >= first else (first, first)
        )
        if problem := idempotency_key_problem(key):
            findings.add(f"{name} {problem}")
        if committed_at is None or (first, last) != batch:
            findings.add(f"{name} does not name a committed batch")
        elif occurred_at != committed_at:
            findings.add(f"{name} has another time than its facts")
        if fingerprint_bytes != _FINGERPRINT_BYTES:
            findings.add(f"{name} has no fingerprint")
    return count


def _verify_streams(connection: apsw.Connection, findings: Findings, head: int) -> int:
    count = 0
    for stream, query, canonical, cursor, lease_epoch, last_lease_epoch in connection.execute(_STREAMS):
        count += 1
        name = f"the durable stream {excerpt(stream)!r}"
        if problem := durable_stream_problem(stream):
            findings.add(f"{name} {problem}")
        if not 0 <= cursor <= head:
            findings.add(f"{name} has the cursor {cursor}, which is not within 0 and the head {head}")
        if not 0 <= lease_epoch <= last_lease_epoch:
            findings.add(
                f"{name} has the lease epoch {lease_epoch}, above the store's counter {last_lease_epoch}"
            )
        if _canonical(query) != canonical:
            findings.add(f"{name} has a query that cannot be read, or is not the canonical one beside it")
    return count


def _verify_times(connection: apsw.Connection, findings: Findings) -> None:
    """They are not after the newest fact, or now: clocks go wrong, but facts keep the time that they were given."""
    newest = connection.execute(
        "SELECT coalesce((SELECT occurred_at FROM records ORDER BY sequence_number DESC LIMIT 1), 0)"
    ).get
    latest = max(time.time_ns() // 1_000, newest) + _DAY_MICROSECONDS
    for stream, what, at in connection.execute(_TIMES):
        if not 0 <= at <= latest:
            name = "the store" if stream is None else f"the durable stream {excerpt(stream)!r}"
            findings.add(f"{name} was {what} at {at} microseconds since 1970, which cannot be")


def _canonical(query: str) -> str | None:
    """None for what is no query."""
    violations = Violations()
    try:
        compiled = compile_query(query_from_text(query), violations)
    except (ValueError, TypeError):
        return None
    return None if violations else compiled.canonical
