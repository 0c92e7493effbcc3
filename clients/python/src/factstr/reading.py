"""Owns how far a query's result has been read, and how to go on after an interruption as if there had been none.

The log is immutable, so the rest of a snapshot can be asked for again, exactly: the facts after the last one that
was returned, up to the context version that the first message named.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import grpc

from factstr.checks import checked_number
from factstr.errors import LogDiverged
from factstr.event import EventRecord
from factstr.query import EventQuery, checked_query
from factstr.resuming import Interrupted
from factstr.v1 import event_store_service_pb2

Order: TypeAlias = Literal["ascending", "descending"]

_ORDERS = {
    "ascending": event_store_service_pb2.ORDER_ASCENDING,
    "descending": event_store_service_pb2.ORDER_DESCENDING,
}


@dataclass(slots=True)
class Reading:
    """One result: what was asked for, and what has come so far."""

    query: EventQuery
    limit: int | None
    order: Order
    before: int | None
    context_version: int | None = None
    last_returned: int | None = None
    _returned: int = 0
    _has_started: bool = False
    _has_answered: bool = False

    def __post_init__(self) -> None:
        checked_number("min_sequence_number", checked_query(self.query).min_sequence_number)
        checked_number("limit", self.limit)
        checked_number("before", self.before)
        if self.order not in _ORDERS:
            raise ValueError(f"order is {self.order!r}; it must be 'ascending' or 'descending'")

    def request(self) -> event_store_service_pb2.QueryRequest:
        """Return the request for what has not come yet."""
        self._has_answered = False
        query, before, limit = self.query, self.before, self.limit
        if self._has_started:
            end = (self.context_version or 0) + 1
            before = end if before is None else min(before, end)
            limit = None if limit is None else limit - self._returned
            if self.last_returned is not None and self.order == "ascending":
                query = query.after(self.last_returned)
            elif self.last_returned is not None:
                before = self.last_returned
        return event_store_service_pb2.QueryRequest(
            query=query.to_proto(), limit=limit, order=_ORDERS[self.order], before_sequence_number=before
        )

    def is_complete(self) -> bool:
        """Tell whether nothing is left to ask for, whatever became of the call."""
        if not self._has_started:
            return False
        is_full = self.limit is not None and self._returned >= self.limit
        return is_full or (self.order == "ascending" and self._reached() >= (self.context_version or 0))

    def may_end(self) -> bool:
        """Tell whether a call that has ended well may have said all.

        Even an empty result has a message. Where a result ends is known when it ascends to its context version.
        """
        is_known = self.order == "ascending" and self.before is None
        return self._has_answered and (self.is_complete() or not is_known)

    def _reached(self) -> int:
        return max(self.last_returned or 0, self.query.min_sequence_number or 0)

    def take(self, message: event_store_service_pb2.QueryResponse) -> list[EventRecord]:
        """Take in the next message and return its facts."""
        version = message.current_context_version if message.HasField("current_context_version") else None
        is_first_of_call, self._has_answered = not self._has_answered, True
        if not self._has_started:
            self._has_started = True
            self.context_version = version
        elif is_first_of_call and (version or 0) < (self.context_version or 0):
            raise LogDiverged(
                f"the context's version was {self.context_version} when the result began, and is {version or 0} now: "
                "this is another log, so the rest of the result is not to be had; query again",
                code=grpc.StatusCode.DATA_LOSS,
                reason="LOG_DIVERGED",
            )
        records = [EventRecord.from_proto(record) for record in message.event_records]
        if records:
            self.last_returned = records[-1].sequence_number
            self._returned += len(records)
        return records


def ended_early() -> Interrupted:
    """Return what it is when a result ends before all is there."""
    return Interrupted("the result ended before all of it was there")


class ResultPosition:
    """What a result says of itself, in whatever way it is read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def context_version(self) -> int | None:
        """The version of the full context in this snapshot; None when no fact matches."""
        return self._reading.context_version

    @property
    def last_returned_sequence_number(self) -> int | None:
        """The last fact received so far, in the order asked; None while there was none."""
        return self._reading.last_returned
