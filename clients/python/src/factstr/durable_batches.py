"""Owns the consuming of durable streams for synchronous callers: reading, acknowledging, and projecting."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from factstr.batch import DurableBatch
from factstr.consuming import Consuming, ConsumingState, Projection, check_handled
from factstr.errors import DurableStreamNotFound, FactstrError, LeaseLost
from factstr.live_stream import Reader, Responses
from factstr.retry import Attempts
from factstr.v1 import event_store_service_pb2

_Acknowledge: TypeAlias = Callable[
    [event_store_service_pb2.AcknowledgeDurableRequest, Attempts],
    event_store_service_pb2.AcknowledgeDurableResponse,
]


class DurableBatches(Reader[DurableBatch], ConsumingState):
    """The batches of a durable stream, in commit order, each at least once: iterated, and acknowledged when done.

    An interruption that may pass is gone over: the stream is taken up again under a new lease, after the cursor that
    the store keeps, so what was not acknowledged is delivered again. Where another consumer has taken the lease
    meanwhile, this one stands by until it is free. LeaseLost is raised, and the stream closed, when it was reset or
    deleted by force; by reading too, where acknowledging finds out. Leave it with `close()` or as a context manager.
    """

    _following: Consuming

    def __init__(
        self, consuming: Consuming, open_call: Callable[[], Responses], acknowledge: _Acknowledge
    ) -> None:
        self._acknowledge = acknowledge
        super().__init__(consuming, open_call)

    def close(self) -> None:
        """End the stream, also for a thread that is reading it, and the lease with it. Harmless again."""
        super().close()
        self._following.end_lease()

    def acknowledge(self, batch: DurableBatch) -> int:
        """Acknowledge this batch and all before it; return the cursor.

        Does nothing for a batch that came before an interruption that this stream has gone over since: it is delivered
        again. Repeated after failures that may pass for as long as the stream itself would be taken up again; closing
        the store ends that. Also for another thread than the one that iterates.
        """
        self._send(batch, self._following.resumption.attempts())
        return self.cursor

    def project(
        self, handler: Callable[[DurableBatch], object], *, stop_when_caught_up: bool = False
    ) -> None:
        """Run the handler on each batch and acknowledge what it has done: see `factstr.EventStore.project`.

        An exception of the handler closes the stream: what came after that batch would acknowledge it too.
        """
        progress = Projection()
        for batch in self.until_caught_up() if stop_when_caught_up else self:
            try:
                check_handled(handler(batch))
            except BaseException as failure:
                if isinstance(failure, Exception):
                    self._acknowledge_before_failing(progress.unacknowledged)
                self.close()
                raise
            progress.unacknowledged = batch
            if progress.is_due() or not self._following.has_batch():
                self.acknowledge(batch)
                progress.acknowledged()

    def _acknowledge_before_failing(self, batch: DurableBatch | None) -> None:
        """Acknowledge what was done before a failure, unless that fails too: the failure is what matters."""
        if batch is not None:
            with suppress(FactstrError):
                self._send(batch, self._following.resumption.ordinary_attempts())

    def _send(self, batch: DurableBatch, attempts: Attempts) -> None:
        request = self._following.acknowledgement(batch)
        if request is None:
            return
        try:
            response = self._acknowledge(request, attempts)
        except (LeaseLost, DurableStreamNotFound) as lost:
            if isinstance(lost, LeaseLost) and self._following.is_giving_up_lease_of(batch):
                return
            self._fail(lost)
            raise
        else:
            self._following.acknowledged(batch, response.cursor)
