"""Verifies the facts of a file: each record against what stands beside it and against the contract, their numbers,
times and batches, and the index against the terms that they should have.

The index is compared by sums, because its entries come in the order of terms and not of facts: of each thousand facts
the hashes of all pairs of a term and a fact, once as the records say, once as the index does. One entry that is missing
or too many makes them differ. Hashes are Python's own, which are fast and need to be the same only within this run.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from itertools import repeat
from typing import Final, NamedTuple

import apsw
import orjson

from factstr_server.contract.batch_frame import openings
from factstr_server.contract.limits import MAX_EVENTS_PER_APPEND, MAX_METADATA_ENTRIES
from factstr_server.contract.record import (
    RecordParts,
    event_type_field,
    occurred_at_field,
    parse_record,
    read_varint,
    record_body,
    record_prefix,
)
from factstr_server.contract.terms import event_type_term, payload_terms
from factstr_server.contract.validation import event_type_problem, metadata_problems
from factstr_server.stores.sqlite.backing_up import Progress
from factstr_server.stores.sqlite.database import told

MOST_FINDINGS: Final = 40
"""Said in words; what is beyond is counted."""

FACTS_PER_SUM: Final = 1_000

_FACTS: Final = """
    SELECT
        r.sequence_number, r.occurred_at, r.event_type, r.metadata, r.payload_bytes, r.opening_bytes, r.record,
        b.last_sequence_number
    FROM records AS r LEFT JOIN batches AS b ON b.first_sequence_number = r.sequence_number
    ORDER BY r.sequence_number
"""
_SAID_EVERY: Final = 1_024
"""Facts or terms."""


class Findings:
    """What is wrong, in the order in which it was found."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.more = 0

    def add(self, finding: str) -> None:
        if len(self.shown) < MOST_FINDINGS:
            self.shown.append(finding)
        else:
            self.more += 1


class IndexSums:
    """For each thousand facts, the sum of what they should have in the index, less what it has."""

    def __init__(self) -> None:
        self._sums: Counter[int] = Counter()
        self._unknown: set[int] = set()
        self._terms = 0

    def add(self, number: int, terms: Collection[str]) -> None:
        self._terms += len(terms)
        self._sums[number // FACTS_PER_SUM] += sum(map(hash, zip(terms, repeat(number))))

    def unknown(self, number: int) -> None:
        """A fact without a valid payload: what its neighbours should have cannot be told apart from it."""
        self._unknown.add(number // FACTS_PER_SUM)

    def verify(self, connection: apsw.Connection, findings: Findings, head: int, progress: Progress) -> None:
        sums, beyond = self._sums, 0
        connection.execute("CREATE VIRTUAL TABLE temp.held USING fts5vocab(main, terms, instance)")
        entries = connection.execute("SELECT term, doc FROM temp.held")
        with closing(entries):
            for count, entry in enumerate(entries):
                number = entry[1]
                if 0 < number <= head:
                    sums[number // FACTS_PER_SUM] -= hash(entry)
                else:
                    beyond += 1
                if not count % _SAID_EVERY:
                    progress("checking the index", min(count, self._terms), self._terms, "terms")
        connection.execute("DROP TABLE temp.held")
        progress("checking the index", self._terms, self._terms, "terms")
        if beyond:
            findings.add(f"the index holds {beyond} terms of facts that are not there")
        for place, rest in sorted(sums.items()):
            if rest and place not in self._unknown:
                first, last = max(place * FACTS_PER_SUM, 1), min((place + 1) * FACTS_PER_SUM - 1, head)
                findings.add(f"the index does not hold the terms of facts {first} to {last}, or holds others")


class _Row(NamedTuple):
    sequence_number: int
    occurred_at: int
    event_type: str
    metadata_text: str | None
    payload_bytes: int
    opening_bytes: int
    framed: bytes
    batch_last: int | None

    @property
    def record(self) -> bytes:
        return self.framed[max(self.opening_bytes, 0) :]


def verify_facts(
    connection: apsw.Connection, findings: Findings, sums: IndexSums, progress: Progress
) -> tuple[int, int]:
    """The head, and how many batches there are."""
    head = connection.execute("SELECT coalesce(max(sequence_number), 0) FROM records").get
    log = _Log(findings)
    progress("checking facts", 0, head, "facts")
    for row in _rows(connection):
        number = row.sequence_number
        if terms := _checked(row, log, findings):
            sums.add(number, terms)
        else:
            sums.unknown(number)
        if not number % _SAID_EVERY:
            progress("checking facts", number, head, "facts")
    progress("checking facts", head, head, "facts")
    return head, log.batches


def _rows(connection: apsw.Connection) -> Iterator[_Row]:
    after = 0
    try:
        with closing(connection.execute(_FACTS)) as rows:
            for row in map(_Row._make, rows):
                yield row
                after = row.sequence_number
    except Exception as error:
        error.add_note(f"but to fact {after}")
        raise


def _checked(row: _Row, log: "_Log", findings: Findings) -> Collection[str]:
    """The index terms that the fact should have; none where that cannot be told."""
    try:
        log.add(row)
        return _verified_terms(row, findings)
    except Exception as error:  # noqa: BLE001  (NULL where there must be a value, and whatever else a bit can make)
        findings.add(f"fact {row.sequence_number} cannot be read: {told(error)}")
        return ()


class _Log:
    """Numbers, times and batches, fact by fact."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._head = 0
        self._time = 0
        self._first = self._last = 0
        """Of the batch that the fact before belongs to."""
        self._sizes: list[int] = []
        self._openings: list[bytes] = []
        self.batches = 0

    def add(self, row: _Row) -> None:
        number = row.sequence_number
        if number != self._head + 1:
            self._miss(number)
        self._head = number
        if number > self._last:
            self._begin(row)
        elif row.occurred_at != self._time:
            self._findings.add(
                f"fact {number}: its time is not the one of its batch, facts {self._first} to {self._last}"
            )
        self._time = row.occurred_at
        self._sizes.append(len(row.record))
        self._openings.append(row.framed[: max(row.opening_bytes, 0)])
        if number == self._last and number > 0:
            self._end()

    def _miss(self, number: int) -> None:
        first, last = self._head + 1, number - 1
        if first < last:
            self._findings.add(f"facts {first} to {last} are missing")
        else:
            self._findings.add(
                f"fact {first} is missing" if first == last else f"fact {number}: numbers begin with 1"
            )
        self._last = 0

    def _begin(self, row: _Row) -> None:
        self._first = self._last = row.sequence_number
        if row.batch_last and self._first < row.batch_last < self._first + MAX_EVENTS_PER_APPEND:
            self._last = row.batch_last
        self._sizes, self._openings = [], []
        self.batches += 1
        if row.occurred_at < self._time:
            self._findings.add(f"fact {self._first}: its time is earlier than the one of the fact before it")

    def _end(self) -> None:
        """Records of an earlier format have no openings."""
        right = openings(self._first, self._last, self._sizes)
        if self._openings != right and any(self._openings):
            place = next(i for i, opening in enumerate(right) if self._openings[i] != opening)
            self._findings.add(
                f"fact {self._first + place}: what stands before its record is not the framing of its batch, facts "
                f"{self._first} to {self._last}"
            )


def _verified_terms(row: _Row, findings: Findings) -> Collection[str]:
    """The index terms that the fact should have; none where that cannot be told."""
    record, name = row.record, f"fact {row.sequence_number}"
    metadata = _metadata(row.metadata_text)
    event_type = row.event_type
    payload = record[-row.payload_bytes :] if row.payload_bytes > 0 else b""
    if metadata is None or record != _as_record(row, metadata, payload):
        parts = _parsed(record)
        findings.add(f"{name}: {_difference(row, metadata, parts)}")
        if parts is None:
            return ()
        event_type, payload = parts.event_type, parts.body[-parts.payload_size :]
    if problem := event_type_problem(event_type):
        findings.add(f"{name}: its event type {problem}")
    for path, problem in metadata_problems(metadata, "metadata") if metadata else ():
        findings.add(f"{name}: {path} {problem}")
    if metadata and len(metadata) > MAX_METADATA_ENTRIES:
        findings.add(f"{name}: its metadata holds {len(metadata)} entries; at most {MAX_METADATA_ENTRIES}")
    try:
        return (event_type_term(event_type), *payload_terms(payload))
    except ValueError as error:
        findings.add(f"{name}: its payload {error}")
        return ()


def _as_record(row: _Row, metadata: dict[str, str], payload: bytes) -> bytes | None:
    """What the record should be by what stands beside it; None where that is impossible."""
    if row.sequence_number < 1 or row.occurred_at < 0:
        return None
    return record_prefix(row.sequence_number, occurred_at_field(row.occurred_at)) + record_body(
        event_type_field(row.event_type), metadata, payload
    )


def _metadata(text: str | None) -> dict[str, str] | None:
    """None for what is not the text of any metadata."""
    if text is None:
        return {}
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return None
    same = metadata and orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode() == text
    return metadata if same else None


def _parsed(record: bytes) -> RecordParts | None:
    try:
        parts = parse_record(record)
    except (ValueError, IndexError):
        return None
    return parts if 0 < parts.payload_size < len(parts.body) else None


def _difference(row: _Row, metadata: dict[str, str] | None, parts: RecordParts | None) -> str:
    if parts is None:
        return "its record cannot be read"
    number, _ = read_varint(row.record, 1)
    said = (
        ("number", number, row.sequence_number),
        ("time", parts.occurred_at, row.occurred_at),
        ("event type", parts.event_type, row.event_type),
        ("payload length", parts.payload_size, row.payload_bytes),
    )
    names = [name for name, inside, beside in said if inside != beside]
    if metadata is None or not names:
        names.append("metadata or encoding")
    return f"its record has another {', '.join(names)} than what stands beside it"
