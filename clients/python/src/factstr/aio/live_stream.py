"""Owns the reading of live streams for asyncio: `factstr.live_stream` with awaits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

import grpc

from factstr.batch import CommittedBatch
from factstr.errors import FactstrError
from factstr.following import BatchT, Following, Message, StreamState
from factstr.resuming import Interrupted, stream_closed, unreadable


class Responses(Protocol):
    def read(self) -> Awaitable[Message | Any]: ...
    def cancel(self) -> bool: ...


class Reader(StreamState[BatchT]):
    """Iterates the batches of a stream, and takes it up again by itself after failures that may pass.

    Each message is read in a task of its own, which outlives a caller who is cancelled: gRPC would end the call with
    the reading, and `asyncio.wait_for(anext(stream), …)` would cost a durable stream its lease.
    """

    def __init__(self, following: Following[BatchT], open_call: Callable[[], Responses]) -> None:
        self._following = following
        self._open_call = open_call
        self._call: Responses | None = None
        self._reading: asyncio.Future[Message | Any] | None = None
        self._closed = asyncio.Event()
        self._failure: FactstrError | None = None
        self._being_read = False

    async def start(self) -> Self:
        """Read the first message, so that registration is active and an error belongs to the opening of the stream."""
        try:
            await self._advance(lambda: self._following.resumption.is_open)
        except BaseException:
            await self.close()
            raise
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchT:
        if not await self._advance(self._following.has_batch):
            raise StopAsyncIteration
        return self._following.hand_over()

    def until_caught_up(self) -> AsyncIterator[BatchT]:
        """Return the batches up to the head, and stop there: see `factstr.LiveStream.until_caught_up`."""
        return _UntilCaughtUp(self._next_until_caught_up)

    async def _next_until_caught_up(self) -> BatchT:
        if not await self._advance(self._following.has_batch_or_caught_up):
            raise stream_closed()
        if not self._following.has_batch():
            raise StopAsyncIteration
        return self._following.hand_over()

    async def close(self) -> None:
        """End the stream, also for a task that is reading it. Harmless after the end, and again."""
        self._closed.set()
        await self._drop_call()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _advance(self, is_enough: Callable[[], bool]) -> bool:
        """Read until it is enough, through as many calls as it takes; return False when the stream is closed."""
        if self._being_read:
            raise RuntimeError("another task is reading this stream; give each task a stream of its own")
        self._being_read = True
        self._following.resumption.read_here()
        try:
            while not self._closed.is_set():
                if is_enough():
                    return True
                try:
                    self._following.take(await self._receive())
                except grpc.RpcError as failure:
                    self._call = None
                    if not self._closed.is_set():
                        await self._pause(self._following.delay_after(failure))
        except FactstrError:
            await self.close()
            raise
        finally:
            self._being_read = False
        told, self._failure = self._failure, None
        if told:
            raise told
        return False

    async def _fail(self, failure: FactstrError) -> None:
        """Close the stream for a reason that a task that is reading it is to know as well."""
        self._failure = failure
        await self.close()

    async def _receive(self) -> Message:
        if self._call is None:
            try:
                self._call = self._open_call()
            except grpc.aio.UsageError as refusal:
                self._following.resumption.not_taken(refusal)
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read(self._call))
        reading = self._reading
        await asyncio.wait({reading})
        self._reading = None
        if reading.cancelled():
            # By a close: of this stream, or of the store, which says so to the next call.
            raise Interrupted("the stream was closed")
        message = reading.result()
        if message is grpc.aio.EOF:
            raise Interrupted("the stream ended without a reason")
        if message is None:
            self._call.cancel()
            raise unreadable()
        return message

    async def _read(self, call: Responses) -> "Message | Any":
        patience = self._following.resumption.patience()
        try:
            async with asyncio.timeout(patience):
                return await call.read()
        except TimeoutError:
            raise self._following.resumption.silence(patience) from None

    async def _drop_call(self) -> None:
        call, reading, self._call, self._reading = self._call, self._reading, None, None
        if call is not None:
            call.cancel()
        if reading is not None:
            # Until it has ended, and with its outcome looked at, so that asyncio reports nothing left behind.
            await asyncio.gather(reading, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()


class _UntilCaughtUp(AsyncIterator[BatchT]):
    """No generator: that would end with a caller who is cancelled, as if the head were reached."""

    def __init__(self, next_batch: Callable[[], Awaitable[BatchT]]) -> None:
        self._next_batch = next_batch

    async def __anext__(self) -> BatchT:
        return await self._next_batch()


class LiveStream(Reader[CommittedBatch]):
    """Committed batches in commit order, each once, as `factstr.LiveStream`, iterated with `async for`.

    Leave it with `await close()` or as an async context manager.
    """
