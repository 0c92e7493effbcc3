"""Owns the durable streams of the asyncio store: `factstr.durable_streams`, where it is explained, with awaits."""

from collections.abc import AsyncIterator, Callable

from factstr.aio.calls import Calls
from factstr.aio.durable_batches import DurableBatches
from factstr.batch import DurableBatch
from factstr.connection import DEFAULT_TIMEOUT
from factstr.consuming import Consuming, OnWaiting
from factstr.durable_requests import (
    ANSWER_TIME,
    await_request,
    bounded,
    delete_request,
    get_request,
    list_request,
    reset_request,
    stream_all_durable_request,
    stream_to_durable_request,
)
from factstr.durable_stream import AwaitResult, DurableStreamInfo, Start
from factstr.query import EventQuery
from factstr.resuming import OnInterruption
from factstr.retry import Effect
from factstr.v1 import durable_stream_service_pb2


class DurableStreams(Calls):
    """The part of the store that keeps cursors under names."""

    async def stream_all_durable(
        self,
        name: str,
        *,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> DurableBatches:
        """Consume all batches under a name: see `factstr.EventStore.stream_all_durable`."""
        request = stream_all_durable_request(
            name, max_unacknowledged_batches, start, wait_for_lease=wait_for_lease
        )
        consuming = Consuming(request, on_waiting, self._resumption(give_up_after, on_interruption))
        return await DurableBatches(
            consuming,
            lambda: self._events.StreamAllDurable(request, metadata=self._metadata),
            lambda asked, attempts: self._call(self._events.AcknowledgeDurable, asked, attempts),
        ).start()

    async def stream_to_durable(
        self,
        name: str,
        query: EventQuery,
        *,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> DurableBatches:
        """Consume, under a name, the batches that match: see `factstr.EventStore.stream_to_durable`.

        async with await store.stream_to_durable("inventory", query) as batches:
            async for batch in batches:
                ...
                await batches.acknowledge(batch)
        """
        request = stream_to_durable_request(
            name, query, max_unacknowledged_batches, start, wait_for_lease=wait_for_lease
        )
        consuming = Consuming(request, on_waiting, self._resumption(give_up_after, on_interruption))
        return await DurableBatches(
            consuming,
            lambda: self._events.StreamToDurable(request, metadata=self._metadata),
            lambda asked, attempts: self._call(self._events.AcknowledgeDurable, asked, attempts),
        ).start()

    async def project(
        self,
        name: str,
        query: EventQuery,
        handler: Callable[[DurableBatch], object],
        *,
        stop_when_caught_up: bool = False,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> None:
        """Run `handler(batch)` for each batch, and acknowledge it afterwards: see `factstr.EventStore.project`.

        The handler may be an async function.
        """
        async with await self.stream_to_durable(
            name,
            query,
            max_unacknowledged_batches=max_unacknowledged_batches,
            wait_for_lease=wait_for_lease,
            start=start,
            on_waiting=on_waiting,
            give_up_after=give_up_after,
            on_interruption=on_interruption,
        ) as batches:
            await batches.project(handler, stop_when_caught_up=stop_when_caught_up)

    def durable_streams(
        self, name_prefix: str = "", *, timeout: float | None = None
    ) -> AsyncIterator[DurableStreamInfo]:
        """Return the durable streams whose names begin so: see `factstr.EventStore.durable_streams`."""
        return self._pages(list_request(name_prefix), timeout)

    async def _pages(
        self, request: durable_stream_service_pb2.ListDurableStreamsRequest, timeout: float | None
    ) -> AsyncIterator[DurableStreamInfo]:
        more = True
        while more:
            attempts = self._attempts(Effect.NONE, timeout)
            response = await self._call(self._durable.ListDurableStreams, request, attempts)
            for stream in response.durable_streams:
                yield DurableStreamInfo.from_proto(stream)
            request.page_token = response.next_page_token
            more = bool(request.page_token)

    async def durable_stream(self, name: str, *, timeout: float | None = None) -> DurableStreamInfo:
        """Return how a durable stream stands. Raises DurableStreamNotFound."""
        attempts = self._attempts(Effect.NONE, timeout)
        response = await self._call(self._durable.GetDurableStream, get_request(name), attempts)
        return DurableStreamInfo.from_proto(response.durable_stream)

    async def reset_durable_stream(
        self, name: str, cursor: int = 0, *, force: bool = False, timeout: float | None = None
    ) -> DurableStreamInfo:
        """Move the cursor of a durable stream: see `factstr.EventStore.reset_durable_stream`."""
        attempts, request = self._attempts(Effect.TWICE, timeout), reset_request(name, cursor, force=force)
        response = await self._call(self._durable.ResetDurableStream, request, attempts)
        return DurableStreamInfo.from_proto(response.durable_stream)

    async def delete_durable_stream(
        self, name: str, *, force: bool = False, timeout: float | None = None
    ) -> None:
        """Forget a durable stream: see `factstr.EventStore.delete_durable_stream`."""
        attempts, request = self._attempts(Effect.TWICE, timeout), delete_request(name, force=force)
        await self._call(self._durable.DeleteDurableStream, request, attempts)

    async def await_durable_stream(
        self, name: str, sequence_number: int, *, timeout: float = DEFAULT_TIMEOUT
    ) -> AwaitResult:
        """Wait until the cursor has reached a sequence number: see `factstr.EventStore.await_durable_stream`."""
        request = await_request(name, sequence_number, timeout)
        attempts = self._attempts(Effect.NONE, timeout + ANSWER_TIME)
        response = await self._call(
            lambda asked, *, timeout=None, metadata=None: self._durable.AwaitDurableStream(
                bounded(asked, timeout), timeout=timeout, metadata=metadata
            ),
            request,
            attempts,
        )
        return AwaitResult(response.cursor, response.reached)
