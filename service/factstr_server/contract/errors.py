"""Every way in which a call can be refused.

A `Refusal` says what was wrong, where, and what would be right. The edge maps its reason to a status; nothing below
the edge knows about gRPC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto


class Reason(StrEnum):
    """The names of `factstr.v1.ErrorReason`, in the order of the wire contract."""

    @staticmethod
    def _generate_next_value_(name: str, *_: object) -> str:
        return name

    EMPTY_APPEND = auto()
    INVALID_EVENT_TYPE = auto()
    INVALID_PAYLOAD = auto()
    INVALID_PREDICATE = auto()
    INVALID_METADATA = auto()
    INVALID_ARGUMENT = auto()
    BATCH_TOO_LARGE = auto()
    UNSUPPORTED_FIELD = auto()
    CONDITIONAL_APPEND_CONFLICT = auto()
    IDEMPOTENCY_KEY_REUSED = auto()
    DURABLE_STREAM_ACTIVE = auto()
    DURABLE_STREAM_QUERY_MISMATCH = auto()
    DURABLE_STREAM_LEASE_LOST = auto()
    DURABLE_STREAM_NOT_FOUND = auto()
    CURSOR_AHEAD_OF_LOG = auto()
    LOG_DIVERGED = auto()
    SERVER_BUSY = auto()
    QUOTA_EXCEEDED = auto()
    STORE_FULL = auto()
    STORE_UNAVAILABLE = auto()
    SERVER_DRAINING = auto()
    APPEND_OUTCOME_UNKNOWN = auto()
    STORE_CORRUPT = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()
    NOT_IMPLEMENTED = auto()
    INTERNAL = auto()


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request, and what would be right."""

    field: str
    description: str


class Refusal(Exception):
    """A call that is answered with an error.

    `metadata` holds the numbers that a program may want; `retry_after` says when to try again, where that makes
    sense. Text never quotes more of the caller's input than `errors.excerpt` lets through.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


class ConditionalAppendConflict(Refusal):
    """The context does not have the expected version; nothing was committed.

    `expected` is as sent (None and 0 both expected that no fact matches), `actual` is the highest sequence number
    among the facts that match now, or None.
    """

    def __init__(self, expected: int | None, actual: int | None) -> None:
        wanted = f"version {expected}" if expected else "no matching fact"
        found = f"its version is {actual}" if actual else "no fact matches"
        super().__init__(
            Reason.CONDITIONAL_APPEND_CONFLICT,
            f"the context has changed: expected {wanted}, but {found}; read it again, decide again, and append with "
            "the version read",
            metadata={
                name: str(version)
                for name, version in (
                    ("expected_context_version", expected),
                    ("actual_context_version", actual),
                )
                if version is not None
            },
        )
        self.expected = expected
        self.actual = actual


class StoreDisconnected(Refusal):
    """STORE_UNAVAILABLE for as long as a connection is being made anew: nothing was committed, and whoever can wait a
    little need not give up.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            Reason.STORE_UNAVAILABLE,
            f"the store does not answer ({problem}); nothing was committed, try again",
            retry_after=timedelta(seconds=1),
        )


QUOTED_CHARACTERS = 64
"""At most this much of a caller's input appears in an error."""


def excerpt(text: str) -> str:
    """The caller's input as it may appear in an error: at most 64 characters, on one line, printable."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:QUOTED_CHARACTERS])
    return shown + ("…" if len(text) > QUOTED_CHARACTERS else "")


def quoted(text: str) -> str:
    """An excerpt, marked as a quotation."""
    return f"`{excerpt(text)}`"


def idempotency_key_reused(key: str) -> Refusal:
    return Refusal(
        Reason.IDEMPOTENCY_KEY_REUSED,
        f"idempotency_key: {quoted(key)} belongs to an earlier, different request; use a new key for a new request, "
        "and repeat a request unchanged",
    )


def server_draining() -> Refusal:
    return Refusal(
        Reason.SERVER_DRAINING,
        "the server is shutting down; nothing was committed, try again on another server or after its restart",
        retry_after=timedelta(seconds=1),
    )


def server_busy(busy_with: str, *, limit: int, actual: int) -> Refusal:
    return Refusal(
        Reason.SERVER_BUSY,
        f"{busy_with}; nothing was committed, try again",
        metadata={"limit": str(limit), "actual": str(actual)},
        retry_after=timedelta(milliseconds=100),
    )


def quota_exceeded(used: str, *, limit: int, actual: int) -> Refusal:
    return Refusal(
        Reason.QUOTA_EXCEEDED,
        f"{used}, which is all that one token may have; nothing was committed, end some or try again later",
        metadata={"limit": str(limit), "actual": str(actual)},
        retry_after=timedelta(seconds=1),
    )


def unauthenticated(problem: str) -> Refusal:
    return Refusal(
        Reason.UNAUTHENTICATED,
        f"authorization: {problem}; send `Bearer` and a token that this server knows; nothing was done",
    )


def permission_denied(name: str, roles: Iterable[str], required_role: str) -> Refusal:
    return Refusal(
        Reason.PERMISSION_DENIED,
        f"the call takes the role {required_role}, and {name} is {', '.join(sorted(roles))}; use a token that has the "
        "role; nothing was done",
        metadata={"required_role": required_role},
    )


def store_unavailable(problem: str) -> Refusal:
    return Refusal(
        Reason.STORE_UNAVAILABLE,
        f"the store does not answer ({problem}); nothing was committed, try again",
        retry_after=timedelta(seconds=1),
    )


def store_full() -> Refusal:
    return Refusal(
        Reason.STORE_FULL,
        "the store has no room left; nothing was committed; free or add space where the store lives",
    )


def io_error() -> Refusal:
    return store_unavailable("I/O error")


def outcome_unknown() -> Refusal:
    return Refusal(
        Reason.APPEND_OUTCOME_UNKNOWN,
        "the store failed while committing and cannot tell whether the append is in the log; repeat it only with an "
        "idempotency key, or read first",
    )


def change_outcome_unknown() -> Refusal:
    return Refusal(
        Reason.APPEND_OUTCOME_UNKNOWN,
        "the store failed while committing and cannot tell whether the durable stream was changed; look at it before "
        "it is tried again",
    )


def store_corrupt(problem: str) -> Refusal:
    return Refusal(
        Reason.STORE_CORRUPT,
        f"the store holds something that cannot be: {problem}; stop writing and restore or verify the store",
    )


def cursor_ahead_of_log(asked_for: int, head: int) -> Refusal:
    return Refusal(
        Reason.CURSOR_AHEAD_OF_LOG,
        f"the position {asked_for} is beyond the log, whose head is {head}; begin at the head or before it, and make "
        "sure that this is the log that the position came from",
        metadata={"asked_for": str(asked_for), "head_sequence_number": str(head)},
    )


def log_diverged() -> Refusal:
    return Refusal(
        Reason.LOG_DIVERGED,
        "the log is no longer the one that this call began on: a failover or a restore has lost its newest facts; read "
        "again from a position that you know to be shared, and compare the history_id",
    )


def stream_draining() -> Refusal:
    return Refusal(
        Reason.SERVER_DRAINING,
        "the server is shutting down; go on from the last position on another server or after its restart",
        retry_after=timedelta(seconds=1),
    )


def durable_stream_active(name: str, lease_epoch: int, holder: str) -> Refusal:
    return Refusal(
        Reason.DURABLE_STREAM_ACTIVE,
        f"durable_stream: {quoted(name)} is being consumed by {excerpt(holder)}; wait for it (wait_for_lease), or use "
        "force where an operator may end it",
        metadata={"holder": holder, "lease_epoch": str(lease_epoch)},
    )


def durable_stream_query_mismatch(name: str) -> Refusal:
    return Refusal(
        Reason.DURABLE_STREAM_QUERY_MISMATCH,
        f"query: {quoted(name)} is bound to another query (GetDurableStream shows it); use that one, another name, or "
        "delete the durable stream first",
    )


def durable_stream_lease_lost(name: str, lease_epoch: int) -> Refusal:
    return Refusal(
        Reason.DURABLE_STREAM_LEASE_LOST,
        f"the lease {lease_epoch} on {quoted(name)} is over: another consumer took it, or the stream was reset or "
        "deleted; its batches can no longer be acknowledged, consume the stream again",
        metadata={"lease_epoch": str(lease_epoch)},
    )


def durable_stream_not_found(name: str) -> Refusal:
    return Refusal(
        Reason.DURABLE_STREAM_NOT_FOUND,
        f"durable_stream: there is none named {quoted(name)}; StreamToDurable creates it, ListDurableStreams shows all",
    )
