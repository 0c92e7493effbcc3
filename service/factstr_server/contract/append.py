"""Appends: from what a caller sent to what a store commits.

`prepare_append` validates, encodes, hashes and indexes a request once, before it is queued, so that no store parses and
the committer only decides.
"""

import hashlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, Protocol

import orjson

from factstr_server.contract.errors import FieldViolation, Reason, Refusal
from factstr_server.contract.json_text import InvalidJson
from factstr_server.contract.limits import (
    MAX_APPEND_BYTES,
    MAX_EVENTS_PER_APPEND,
    MAX_METADATA_ENTRIES,
)
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.record import event_type_field, parse_record, record_body, varint
from factstr_server.contract.terms import check_payload, event_type_term, payload_terms
from factstr_server.contract.validation import (
    Violations,
    event_type_problem,
    idempotency_key_problem,
    metadata_problems,
)


class NewEvent(Protocol):
    """A fact as a caller hands it over; the generated message is one."""

    @property
    def event_type(self) -> str: ...
    @property
    def payload(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


class EncodedEvent(NamedTuple):
    """A valid fact, ready to be committed: only its number and time are missing."""

    event_type: str
    body: bytes
    """The record after its prefix (`contract.record`). Its last `payload_size` bytes are the payload."""
    payload_size: int
    metadata_text: str | None
    """The metadata as a JSON object, for people who read a store's file; None when there is none."""
    terms: str
    """The fact's index terms, with spaces between them."""

    @property
    def payload(self) -> bytes:
        return self.body[-self.payload_size :]


class IdempotencyKey(NamedTuple):
    """A caller's key and the fingerprint of the request that it stands for."""

    key: str
    fingerprint: bytes


class LookedUp(NamedTuple):
    """What a read found before: the context's version in a log that reached at least up to `head`."""

    version: int | None
    head: int
    history_id: str
    """Of that log. In another one it says nothing."""


class Condition(NamedTuple):
    """The context and the version that it must have; None and 0 both expect that no fact matches."""

    query: CompiledQuery
    expected_version: int | None
    looked_up: LookedUp | None = None
    """Of a context whose version takes long to find: what is left to look at is after `looked_up.head`."""


@dataclass(frozen=True, slots=True)
class PreparedAppend:
    """A valid append."""

    events: tuple[EncodedEvent, ...]
    size: int
    """Bytes of the events; what the limits of an append, a group and the queue count."""
    condition: Condition | None = None
    idempotency: IdempotencyKey | None = None
    pipeline: int = 0
    """Appends of one pipeline (0 = of none) are decided in their order: none after one that is left undecided."""


def prepare_append(
    events: Sequence[NewEvent],
    violations: Violations,
    *,
    idempotency_key: str = "",
    condition: Condition | None = None,
    pipeline: int = 0,
) -> PreparedAppend:
    """Checks empty, validity and size, in this order, and encodes. Raises Refusal.

    `violations` may already hold what was wrong with the condition's query.
    """
    if not events:
        problem = "holds no event; append at least one"
        raise Refusal(
            Reason.EMPTY_APPEND, f"events: {problem}", violations=[FieldViolation("events", problem)]
        )
    # Validity comes before size, but what is far too large is not looked at to its end, nor kept.
    looked_at = islice(enumerate(events), 2 * MAX_EVENTS_PER_APPEND)
    encoded: deque[EncodedEvent] = deque(maxlen=MAX_EVENTS_PER_APPEND)
    payload_bytes = 0
    for index, event in looked_at:
        payload = event.payload.encode()
        payload_bytes += len(payload)
        encoded.append(_encode(event, payload, index, violations, too_large=payload_bytes > MAX_APPEND_BYTES))
    if idempotency_key and (wrong := idempotency_key_problem(idempotency_key)):
        violations.add(Reason.INVALID_ARGUMENT, "idempotency_key", wrong)
    violations.refuse_if_any()
    valid = tuple(encoded)
    size = sum(len(event.body) for event in valid)
    _check_size(len(events), size)
    idempotency = None
    if idempotency_key:
        idempotency = IdempotencyKey(idempotency_key, _fingerprint(valid, condition))
    return PreparedAppend(valid, size, condition, idempotency, pipeline)


def committed_event(record: bytes) -> tuple[int, EncodedEvent]:
    """When a fact was committed, in microseconds since 1970, and the fact as it was prepared (without the text of its
    metadata, which only stores want).
    """
    occurred_at, event_type, body, payload_size = parse_record(record)
    terms = payload_terms(body[-payload_size:])
    return occurred_at, EncodedEvent(
        event_type, body, payload_size, None, " ".join((event_type_term(event_type), *terms))
    )


def _encode(
    event: NewEvent, payload: bytes, index: int, violations: Violations, *, too_large: bool
) -> EncodedEvent:
    """Of an append that is too large anyway, what could be wrong is looked for, and no terms are made."""
    event_type = event.event_type
    known_type = _encoded_event_type(event_type)
    if isinstance(known_type, str):
        violations.add(Reason.INVALID_EVENT_TYPE, f"events[{index}].event_type", known_type)
        known_type = _NO_TYPE
    terms: Collection[str] = ()
    try:
        if too_large:
            check_payload(payload)
        else:
            terms = payload_terms(payload)
    except InvalidJson as error:
        violations.add(Reason.INVALID_PAYLOAD, f"events[{index}].payload", str(error))
    metadata = event.metadata
    metadata_text = None
    if len(metadata) > MAX_METADATA_ENTRIES:
        problem = f"holds {len(metadata)} entries; at most {MAX_METADATA_ENTRIES}"
        violations.add(Reason.INVALID_METADATA, f"events[{index}].metadata", problem)
        metadata = {}
    elif metadata:
        metadata = dict(metadata)
        for path, problem in metadata_problems(metadata, f"events[{index}].metadata"):
            violations.add(Reason.INVALID_METADATA, path, problem)
        metadata_text = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode()
    field, term = known_type
    return EncodedEvent(
        event_type,
        record_body(field, metadata, payload),
        len(payload),
        metadata_text,
        " ".join((term, *terms)),
    )


class _KnownType(NamedTuple):
    field: bytes
    term: str


_NO_TYPE: Final = _KnownType(b"", "")


@lru_cache(maxsize=4096)
def _encoded_event_type(event_type: str) -> _KnownType | str:
    """The encoding of a type, or what is wrong with it. Cached: a log has few types, and their texts are short."""
    return event_type_problem(event_type) or _KnownType(
        event_type_field(event_type), event_type_term(event_type)
    )


def _check_size(count: int, size: int) -> None:
    for name, limit, actual, unit in (
        ("max_events_per_append", MAX_EVENTS_PER_APPEND, count, "events"),
        ("max_append_bytes", MAX_APPEND_BYTES, size, "bytes of events"),
    ):
        if actual > limit:
            raise Refusal(
                Reason.BATCH_TOO_LARGE,
                f"events: {actual} {unit}; one append takes at most {limit}, split it",
                metadata={"limit_name": name, "limit": str(limit), "actual": str(actual)},
            )


def _fingerprint(events: Sequence[EncodedEvent], condition: Condition | None) -> bytes:
    """Equal exactly for the same request: operation, event types, payload bytes, metadata pairs, expected version,
    canonical query. A body holds an event's parts in one order, and each is length-prefixed.
    """
    digest = hashlib.sha256()
    if condition is None:
        digest.update(b"append")
    else:
        query = condition.query.canonical.encode()
        digest.update(b"append_if" + varint(condition.expected_version or 0) + varint(len(query)) + query)
    for event in events:
        digest.update(varint(len(event.body)) + event.body)
    return digest.digest()
