"""The seam between a copy and the kinds of stores: what a store is made of, and how it is read and written whole.

Whatever fulfils `CopySource` and `CopyTarget` can be copied to and from every other kind (`stores.copying`). A store is
read in pages, each after the last of the one before; an empty page is the end.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

PAGE_BYTES: Final = 2 * 1024 * 1024
PAGE_FACTS: Final = 4_096
"""A page of facts ends with the fact that reaches one of these."""

PAGE_KEYS: Final = 4_096
PAGE_STREAMS: Final = 32
"""Their queries may be large."""


class Identity(NamedTuple):
    """What makes the copy the same store: positions, leases and acknowledgement tokens stay valid."""

    store_id: str
    history_id: str
    created_at: int
    last_lease_epoch: int
    acknowledgement_key: bytes


class Contents(NamedTuple):
    """A store as a whole."""

    identity: Identity
    head: int
    larger_batches: int
    """Of more than one fact."""
    keys: int
    durable_streams: int


class CopiedFact(NamedTuple):
    """A fact as a store keeps it. Times in microseconds since 1970, here and below."""

    sequence_number: int
    occurred_at: int
    event_type: str
    metadata_text: str | None
    payload_size: int
    record: bytes
    opening: bytes
    """What stands before the record when its batch is delivered whole; empty where an earlier format had none."""
    batch_last: int | None
    """The end of the batch that this fact begins, where that is one of more."""


class CopiedKey(NamedTuple):
    """An idempotency key and the result that it stands for."""

    first_sequence_number: int
    last_sequence_number: int
    occurred_at: int
    idempotency_key: str
    fingerprint: bytes


class CopiedStream(NamedTuple):
    """A durable stream without its lease."""

    durable_stream: str
    query_text: str
    canonical_query: str
    cursor: int
    lease_epoch: int
    created_at: int
    acknowledged_at: int | None


class ReadStore(Protocol):
    """A store, read. Every call may raise StoreError."""

    @property
    def name(self) -> str:
        """For people; without secrets."""

    @property
    def place(self) -> object:
        """The same for the same store, as far as that can be told."""

    async def close(self) -> None:
        """Idempotent. Nothing is changed by it."""

    async def check_unused(self) -> None:
        """Raises StoreError where a server is known to use it."""

    async def contents(self) -> Contents:
        """What it holds now. What is read from now on is of the same moment."""

    async def facts_after(self, sequence_number: int) -> list[CopiedFact]: ...

    async def keys_after(self, first_sequence_number: int) -> list[CopiedKey]: ...

    async def streams_after(self, durable_stream: str) -> list[CopiedStream]: ...


class CopySource(ReadStore, Protocol):
    """Where a copy comes from."""

    async def open(self) -> None:
        """Raises StoreError for what is no whole store of this version's format, or is in use."""


class CopyTarget(ReadStore, Protocol):
    """Where a copy goes."""

    @property
    def remedy(self) -> str:
        """How an unfinished copy is removed."""

    async def open(self) -> None:
        """Raises StoreError for what is not new or empty, or is in use. Nothing is changed then."""

    async def begin(self) -> None:
        """Marks it as unfinished, durably, and makes it ready for what is written."""

    async def write_facts(self, facts: Sequence[CopiedFact], terms: Sequence[str]) -> None:
        """Whole batches, which follow those before, and the index terms of each fact."""

    async def write_keys(self, keys: Sequence[CopiedKey]) -> None: ...

    async def write_streams(self, streams: Sequence[CopiedStream]) -> None: ...

    async def write_identity(self, identity: Identity, newest: CopiedFact | None) -> None:
        """Which store it is, and the last fact of its log."""

    async def finish(self) -> None:
        """Takes the mark away, after all that was written is durable."""
