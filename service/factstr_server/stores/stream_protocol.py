"""The seam between the log and a store's durable streams: names, queries, cursors and leases.

Whatever fulfils `DurableStreamStore` beside `LogStore` and passes `tests/conformance` keeps durable streams. Cursors
move in `LogStore.commit`, so that acknowledgements share the commit of the appends beside them.

Laws for every store:
- Epochs come from one counter of the store that never repeats a number, not across restarts either. An acquisition, a
  reset and a deletion take a new one.
- At most one lease of a name is held at any moment, across all servers on the store. A lease that its server cannot
  renew is free within 20 s.
- A cursor moves by `Advance` under the current epoch, forwards only, and by `reset`. Nothing else moves it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias


class StoredStream(NamedTuple):
    """A durable stream as the store keeps it. Times in microseconds since 1970."""

    durable_stream: str
    query_text: str
    """As it was given when the name was created (`EventQuery.as_text`)."""
    cursor: int
    lease_epoch: int
    """Of the current or the last lease, reset or deletion."""
    created_at: int
    acknowledged_at: int | None
    holder: str | None
    """Who holds the lease; None when nobody does."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a consumer asks for."""

    durable_stream: str
    query_text: str
    canonical_query: str
    holder: str
    """Who will hold the lease, for people."""
    start_after: int | None = 0
    """Where a new name starts, strictly after it; None = at the head."""


class Acquired(NamedTuple):
    """The lease is held; delivery begins strictly after the cursor."""

    lease_epoch: int
    cursor: int


class LeaseHeld(NamedTuple):
    """Another consumer holds the lease."""

    lease_epoch: int
    holder: str


class QueryMismatch(NamedTuple):
    """The name is bound to another query."""


class PositionAhead(NamedTuple):
    """The position is beyond the head."""

    asked_for: int
    head: int


class StreamNotFound(NamedTuple):
    """There is no stream of this name."""

    durable_stream: str


class Deleted(NamedTuple):
    """The name is free."""


AcquireOutcome: TypeAlias = Acquired | LeaseHeld | QueryMismatch | PositionAhead
ResetOutcome: TypeAlias = StoredStream | StreamNotFound | LeaseHeld | PositionAhead
DeleteOutcome: TypeAlias = Deleted | StreamNotFound | LeaseHeld


class CursorState(NamedTuple):
    """What decides whether a cursor may move."""

    lease_epoch: int
    cursor: int


class Ages(NamedTuple):
    """The store's clock, its head, and when the facts that were asked for were committed."""

    now: int
    head: int
    occurred_at: list[int | None]
    """None where there is no such fact."""


class DurableStreamStore(Protocol):
    """The durable streams of one store. Calls may run concurrently with each other and with those of `LogStore`, and
    raise the same refusals.
    """

    @property
    def acknowledgement_key(self) -> bytes:
        """The secret that acknowledgement tokens are made with, the same for every server on the store."""

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        """Takes the lease, creating the name where there is none. A query that differs is told before a lease that is
        held.
        """

    async def release(self, durable_stream: str, lease_epoch: int) -> None:
        """Gives the lease back; does nothing when it is no longer this one."""

    async def get(self, durable_stream: str) -> StoredStream | None:
        """The stream of a name."""

    async def cursors(self, durable_streams: Collection[str]) -> Mapping[str, CursorState]:
        """Epochs and cursors of those of the names that exist."""

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        """Streams whose names begin with the prefix and come strictly after `after`, in code-point order."""

    async def reset(self, durable_stream: str, cursor: int, *, force: bool) -> ResetOutcome:
        """Moves the cursor and ends the lease; while a lease is held only by force."""

    async def delete(self, durable_stream: str, *, force: bool) -> DeleteOutcome:
        """Forgets the stream and ends the lease; while a lease is held only by force."""

    async def ages(self, sequence_numbers: list[int]) -> Ages:
        """When facts were committed, beside the clock and the head of the same moment."""
