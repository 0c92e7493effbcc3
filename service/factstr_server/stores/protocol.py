"""The seam between the log and a store (the durable streams' part of it is `stores.stream_protocol`).

Whatever fulfils `LogStore` and passes `tests/conformance` is a store. Positions are sequence numbers, times are
microseconds since 1970 in UTC, records are wire-format bytes (`contract.record`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeAlias

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.limits import DEFAULT_UNAVAILABLE_WAIT, MAX_RESPONSE_BYTES, MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.stream_protocol import DurableStreamStore, PositionAhead, StreamNotFound


class Committed(NamedTuple):
    """The append is durable."""

    first_sequence_number: int
    last_sequence_number: int
    occurred_at: int


class Repeated(NamedTuple):
    """The idempotency key belongs to the same request: its first result, again."""

    first: Committed


class Conflict(NamedTuple):
    """The context's version is not the expected one."""

    expected: int | None
    actual: int | None


class KeyReused(NamedTuple):
    """The idempotency key belongs to another request."""

    key: str


class Undecided(NamedTuple):
    """The context's version takes too long to find while others wait for the commit. Nothing was committed: look it up
    first, and say so in the condition (`contract.append.LookedUp`).
    """


AppendOutcome: TypeAlias = Committed | Repeated | Conflict | KeyReused | Undecided


class Advance(NamedTuple):
    """Moves a durable stream's cursor forwards, under a lease."""

    durable_stream: str
    lease_epoch: int
    cursor: int
    acknowledged: bool
    """By a consumer; otherwise the cursor passes over facts that do not match."""


class Advanced(NamedTuple):
    """Where the cursor stands now, durably: at the place asked for, or further."""

    cursor: int


class LeaseOver(NamedTuple):
    """The epoch is not the stream's current one; nothing was moved."""

    durable_stream: str
    lease_epoch: int


AdvanceOutcome: TypeAlias = Advanced | LeaseOver | StreamNotFound | PositionAhead

Outcome: TypeAlias = AppendOutcome | AdvanceOutcome


class Window(NamedTuple):
    """The part of a query's result that one read looks at. Both ends are exclusive."""

    after: int = 0
    before: int = MAX_SEQUENCE_NUMBER + 1
    descending: bool = False
    max_facts: int | None = None
    max_bytes: int = MAX_RESPONSE_BYTES
    """A page ends before the record that would make its message larger, unless that record is its first."""


class Page(NamedTuple):
    """What one read found. An unfinished page may be empty: the read only looked as far as it says."""

    records: list[bytes]
    last_sequence_number: int | None
    """Of the last record, in the order asked."""
    looked_up_to: int
    """Everything from the window's beginning up to it, inclusive, has been looked at."""
    finished: bool
    """The whole window has been looked at, or `max_facts` reached."""


class BatchWindow(NamedTuple):
    """The part of the log that one read of batches looks at."""

    after: int
    """Exclusive. Inside a batch it leaves out the facts up to it."""
    up_to: int
    """Inclusive; the end of a batch, not beyond the head."""
    max_batches: int | None = None
    max_bytes: int = MAX_RESPONSE_BYTES
    """A page ends before the batch that would make it larger, unless that batch is its first."""
    joined: bool = False
    """The reader takes a page as one: frames may come joined, which is cheaper."""
    pages_ahead: int = 0
    """How many pages after this one, or as many bytes of them, may come with it: it saves asking for each."""


class BatchPage(NamedTuple):
    """Delivered batches, encoded (`contract.batch_frame`): of each the part that matches. A batch is never split, and a
    page may be empty: the read only looked as far as it says.
    """

    frames: list[bytes]
    ranges: list[tuple[int, int]]
    """First and last sequence number of each frame's commit; of a joined frame, those of all its commits."""
    looked_up_to: int
    """Everything in the window up to it has been looked at; what follows it begins a batch."""
    following: tuple["BatchPage", ...] = ()
    """The pages after it, where they came with it."""


class ContextRead(NamedTuple):
    """A context's version and the first page of its facts, from one snapshot."""

    context_version: int | None
    page: Page


class StoreInfo(NamedTuple):
    """What a store is."""

    kind: str
    store_id: str
    """Stable across restarts."""
    history_id: str
    """Changes when the log lost its tail."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What a store is told when it is opened."""

    idempotency_retention: timedelta | None = None
    """How long idempotency keys are kept; None = for ever."""
    unavailable_wait: timedelta = DEFAULT_UNAVAILABLE_WAIT
    """How long a call waits for a store that is connected to anew."""
    read_store: str | None = None
    """The URL of a read replica."""


class StoreListener(Protocol):
    """What a store that is shared with other servers says of its own accord, in the event loop. All are hints to look,
    except for `diverged`.
    """

    def available(self, available: bool, /) -> None:  # noqa: FBT001
        """Whether the store answers."""

    def head_seen(self, head: int, /) -> None:
        """The log reaches as far as this: perhaps another server has committed."""

    def streams_changed(self) -> None:
        """Leases or cursors may have changed through another server."""

    def diverged(self, head: int, /) -> None:
        """The log has lost its end, in a failover or a restore, and now ends here. What was read is void from now on;
        no read under way on the lost log will return anything.
        """


class LogStore(Protocol):
    """One log. `commit` is never called twice at once; reads may run concurrently with it and with each other.

    Every call may raise `contract.errors.Refusal` with STORE_UNAVAILABLE, STORE_FULL, STORE_CORRUPT or, from `commit`
    alone, APPEND_OUTCOME_UNKNOWN. With every other refusal of `commit`, nothing of the group was committed.
    """

    @property
    def info(self) -> StoreInfo:
        """Known once the store is open."""

    def watch(self, listener: StoreListener) -> None:
        """Before `open`: who hears of what happens elsewhere. A store that nobody shares has nothing to say."""

    async def open(self) -> None:
        """Makes the store ready, creating it where there is none. Raises StoreError with one clear line."""

    async def close(self) -> None:
        """Ends the store's connections; idempotent. No other call may be under way."""

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        """Decides and commits appends and moved cursors in order, as one durable transaction; each sees those before
        it. Answers once the outcomes are durable, in the same order. Never cancelled while under way.
        """

    async def head(self) -> int:
        """The highest sequence number in the log; 0 when it is empty."""

    async def read_context(self, query: CompiledQuery, window: Window) -> ContextRead:
        """The version of the full context, which no window narrows, and the first page of the window's facts."""

    async def read_facts(self, query: CompiledQuery, window: Window) -> Page:
        """One page of the window's facts."""

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        """One page of the window's batches."""

    async def sequence_number_at(self, microseconds: int) -> int:
        """The last sequence number committed at or before a time; 0 = none."""


class Store(LogStore, DurableStreamStore, Protocol):
    """A log and its durable streams: what a server runs on."""


class StoreError(Exception):
    """A store cannot be opened: one line for the person who starts the server."""
