"""Owns committed batches as values: what one append committed, or the part of it that a stream delivers."""

from dataclasses import dataclass, field

from factstr.event import EventRecord


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """What one append committed, or the facts of it that match the stream's query.

    `first_sequence_number` and `last_sequence_number` are of the whole commit: a reader that is done with this batch
    is done up to the last.
    """

    first_sequence_number: int
    last_sequence_number: int
    event_records: tuple[EventRecord, ...]


@dataclass(frozen=True, slots=True)
class DurableBatch(CommittedBatch):
    """A batch of a durable stream, to be acknowledged. `lease_epoch` is a fencing number: it only ever rises."""

    acknowledgement_token: str = field(repr=False)
    lease_epoch: int
