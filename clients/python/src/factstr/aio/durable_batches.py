"""Owns the consuming of durable streams for asyncio: `factstr.durable_batches` with awaits."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from factstr.aio.live_stream import Reader, Responses
from factstr.batch import DurableBatch
from factstr.consuming import Consuming, ConsumingState, Projection, check_handled
from factstr.errors import DurableStreamNotFound, FactstrError, LeaseLost
from factstr.retry import Attempts
from factstr.v1 import event_store_service_pb2

_Acknowledge: TypeAlias = Callable[
    [event_store_service_pb2.AcknowledgeDurableRequest, Attempts],
    Awaitable[event_store_service_pb2.AcknowledgeDurableResponse],
]


class DurableBatches(Reader[DurableBatch], ConsumingState):
    """The batches of a durable stream, as `factstr.DurableBatches`, iterated with `async for`.

    Leave it with `await close()` or as an async context manager.
    """

    _following: Consuming

    def __init__(
        self, consuming: Consuming, open_call: Callable[[], Responses], acknowledge: _Acknowledge
    ) -> None:
        super().__init__(consuming, open_call)
        self._acknowledge = acknowledge

    async def close(self) -> None:
        """End the stream, also for a task that is reading it, and the lease with it. Harmless again."""
        self._following.end_lease()
        await super().close()

    async def acknowledge(self, batch: DurableBatch) -> int:
        """Acknowledge this batch and all before it; return the cursor: see `factstr.DurableBatches.acknowledge`."""
        await self._send(batch, self._following.resumption.attempts())
        return self.cursor

    async def project(
        self, handler: Callable[[DurableBatch], object], *, stop_when_caught_up: bool = False
    ) -> None:
        """Run the handler on each batch and acknowledge what it has done: see `factstr.EventStore.project`.

        The handler may be an async function. An exception of it, or its cancellation, closes the stream: what came
        after that batch would acknowledge it too.
        """
        progress = Projection()
        async for batch in self.until_caught_up() if stop_when_caught_up else self:
            try:
                done = handler(batch)
                if inspect.isawaitable(done):
                    await done
                else:
                    check_handled(done)
            except BaseException as failure:
                if isinstance(failure, Exception):
                    await self._acknowledge_before_failing(progress.unacknowledged)
                await self.close()
                raise
            progress.unacknowledged = batch
            if progress.is_due() or not self._following.has_batch():
                await self.acknowledge(batch)
                progress.acknowledged()

    async def _acknowledge_before_failing(self, batch: DurableBatch | None) -> None:
        """Acknowledge what was done before a failure, unless that fails too: the failure is what matters."""
        if batch is not None:
            with suppress(FactstrError):
                await self._send(batch, self._following.resumption.ordinary_attempts())

    async def _send(self, batch: DurableBatch, attempts: Attempts) -> None:
        request = self._following.acknowledgement(batch)
        if request is None:
            return
        try:
            response = await self._acknowledge(request, attempts)
        except (LeaseLost, DurableStreamNotFound) as lost:
            if isinstance(lost, LeaseLost) and self._following.is_giving_up_lease_of(batch):
                return
            await self._fail(lost)
            raise
        else:
            self._following.acknowledged(batch, response.cursor)
