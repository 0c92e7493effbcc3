"""Owns durable streams as values: where a new one starts, who holds one, and how it stands."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from factstr.event import duration, moment
from factstr.query import EventQuery
from factstr.v1 import durable_stream_service_pb2


class Start(Enum):
    """Where a new durable stream starts, when that is no sequence number."""

    AT_HEAD = "at the head"


AT_HEAD: Final = Start.AT_HEAD


@dataclass(frozen=True, slots=True)
class LeaseWaiting:
    """Another consumer holds the lease that this one waits for; `holder` is for people."""

    lease_epoch: int
    holder: str


@dataclass(frozen=True, slots=True)
class AwaitResult:
    """Where a durable stream stood when the wait for it ended; `reached` is False at the timeout."""

    cursor: int
    reached: bool


@dataclass(frozen=True, slots=True)
class DurableStreamInfo:
    """How a durable stream stands.

    Everything up to `cursor` is acknowledged or does not match. `lag_events` is how many facts of the log are after
    it, and `lag` the age of the first of them: zero at the head. `active` says whether a consumer holds the lease,
    and `holder` who, for people. `lease_epoch` is of the current or last lease. `acknowledged_at` is None when the
    cursor has never moved by acknowledgement.
    """

    durable_stream: str
    query: EventQuery
    cursor: int
    head_sequence_number: int
    lag_events: int
    lag: timedelta
    active: bool
    holder: str
    waiting_consumers: int
    lease_epoch: int
    created_at: datetime | None
    acknowledged_at: datetime | None

    @classmethod
    def from_proto(cls, message: durable_stream_service_pb2.DurableStream) -> "DurableStreamInfo":
        return cls(
            message.durable_stream,
            EventQuery.from_proto(message.query),
            message.cursor,
            message.head_sequence_number,
            message.lag_events,
            duration(message.lag),
            message.active,
            message.holder,
            message.waiting_consumers,
            message.lease_epoch,
            moment(message.created_at) if message.HasField("created_at") else None,
            moment(message.acknowledged_at) if message.HasField("acknowledged_at") else None,
        )
