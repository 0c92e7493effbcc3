"""Owns how far a durable stream has come under which lease, and which of its batches can still be acknowledged.

Pure: the synchronous and the asyncio stream share it.
"""

from collections.abc import Callable
from inspect import isasyncgen, isawaitable, iscoroutine, isgenerator
from time import monotonic
from typing import Final, TypeAlias

import grpc

from factstr.batch import DurableBatch
from factstr.checks import wrong_type
from factstr.durable_stream import LeaseWaiting
from factstr.errors import LeaseLost
from factstr.following import Following, Message, Started, StreamState, records_of
from factstr.resuming import Resumption
from factstr.v1 import event_store_service_pb2

OpenRequest: TypeAlias = (
    event_store_service_pb2.StreamAllDurableRequest | event_store_service_pb2.StreamToDurableRequest
)
OnWaiting: TypeAlias = Callable[[LeaseWaiting], object]


class Consuming(Following[DurableBatch]):
    """A durable stream: begun, and gone on with, after the cursor that the store keeps."""

    def __init__(self, request: OpenRequest, on_waiting: OnWaiting | None, resumption: Resumption) -> None:
        super().__init__(resumption)
        self._request = request
        self._on_waiting = on_waiting
        self.position = None
        self.cursor = 0
        self.lease_epoch: int | None = None
        self._earlier_epochs: set[int | None] = set()
        # What the store has certainly kept. The cursor may be beyond: passing over what does not match is stored later.
        self._kept = 0

    def take(self, message: Message) -> None:
        if isinstance(message, event_store_service_pb2.DurableStreamResponse) and message.HasField("waiting"):
            self.resumption.waits()
            if self._on_waiting is not None:
                self._on_waiting(LeaseWaiting(message.waiting.lease_epoch, message.waiting.holder))
        else:
            super().take(message)

    def acknowledgement(
        self, batch: DurableBatch
    ) -> event_store_service_pb2.AcknowledgeDurableRequest | None:
        """Return what acknowledges a batch; None when it came under an earlier lease, and is delivered again."""
        if not isinstance(batch, DurableBatch):
            raise wrong_type("batch", batch, "a DurableBatch, as this stream delivers them")
        if batch.lease_epoch in self._earlier_epochs:
            return None
        return event_store_service_pb2.AcknowledgeDurableRequest(
            durable_stream=self._request.durable_stream, acknowledgement_token=batch.acknowledgement_token
        )

    def acknowledged(self, batch: DurableBatch, cursor: int) -> None:
        self.cursor = max(self.cursor, cursor)
        self._kept = max(self._kept, batch.last_sequence_number)

    def is_giving_up_lease_of(self, batch: DurableBatch) -> bool:
        """Tell whether this stream itself ended the lease meanwhile, in going on after an interruption."""
        return batch.lease_epoch in self._earlier_epochs or (
            batch.lease_epoch == self.lease_epoch and not self.resumption.is_open
        )

    def end_lease(self) -> None:
        """Take note that this consumer is done with its lease, which the server may notice a little later."""
        if self.lease_epoch is not None:
            self.resumption.ended_leases.add(self.lease_epoch)

    def _batch(self, message: event_store_service_pb2.CommittedBatch) -> DurableBatch:
        assert self.lease_epoch is not None
        return DurableBatch(
            message.first_sequence_number,
            message.last_sequence_number,
            records_of(message),
            message.acknowledgement_token,
            self.lease_epoch,
        )

    def _begin(self, started: Started) -> None:
        assert isinstance(started, event_store_service_pb2.DurableStreamStarted)
        # First, so that whatever ends the stream now ends this lease.
        if self.lease_epoch is not None:
            self._earlier_epochs.add(self.lease_epoch)
        self.lease_epoch = started.lease_epoch
        super()._begin(started)
        if started.cursor < self._kept:
            raise LeaseLost(
                f"{self._request.durable_stream} stands at {started.cursor}, but {self._kept} was acknowledged: it was "
                "reset or deleted while this consumer was not connected",
                code=grpc.StatusCode.ABORTED,
                reason="DURABLE_STREAM_LEASE_LOST",
            )
        self.cursor = self.position = self._kept = started.cursor
        # Every later call follows an interrupted one. The server may not have noticed that, and hold this consumer's
        # own lease; and where a new name starts is no matter for an old one.
        self._request.wait_for_lease = True
        self._request.ClearField("start")


class ConsumingState(StreamState[DurableBatch]):
    """What a durable stream says of itself beyond a live one."""

    _following: Consuming

    @property
    def cursor(self) -> int:
        """Where the store stands, as it last said: everything up to it is acknowledged or does not match."""
        return self._following.cursor

    @property
    def lease_epoch(self) -> int:
        """The epoch of the lease: a fencing number. It rises whenever this stream is taken up again."""
        return self._following.lease_epoch or 0


def check_handled(result: object) -> None:
    """Refuse what a handler returns where it has not run yet. Raises TypeError."""
    if isawaitable(result) or isgenerator(result) or isasyncgen(result):
        if iscoroutine(result):
            result.close()
        raise TypeError(
            f"the handler returned {type(result).__name__}, so it has not run: give a plain function, or with "
            "factstr.aio an async one"
        )


_LONGEST_UNACKNOWLEDGED: Final = 0.1


class Projection:
    """What a handler has done of a durable stream, and when that is acknowledged.

    Batches that came together are acknowledged together, with the last of them, or after a tenth of a second if they
    take longer: an acknowledgement each would cost a replay most of its time, and a later one no more than a few
    batches that are handled again after a crash.
    """

    def __init__(self) -> None:
        self._acknowledged_at = monotonic()
        self.unacknowledged: DurableBatch | None = None

    def is_due(self) -> bool:
        return monotonic() - self._acknowledged_at >= _LONGEST_UNACKNOWLEDGED

    def acknowledged(self) -> None:
        self._acknowledged_at = monotonic()
        self.unacknowledged = None
