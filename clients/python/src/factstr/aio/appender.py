"""Owns the pipelined appending of asyncio callers: `factstr.appender` with awaits.

Besides the callers' tasks, gRPC's own takes out what waits as the next message, once the last one is on its way; the
appender's reads the answers, and opens the next call when one has failed; and a third looks again and again whether the
server has gone silent. Nothing else runs between two awaits, so each sees `Pipelining` whole. As in `factstr.appender`,
no message is handed out before there is a connection.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import grpc

from factstr.aio.calls import is_being_cancelled
from factstr.aio.ended_call import AioCall, EndedCall
from factstr.errors import FactstrError
from factstr.event import AppendResult, Event
from factstr.forgotten import warn_of_forgotten
from factstr.pending_append import UnseenFailures, looked_at
from factstr.pipelining import Pipelining, appender_closed, no_answer
from factstr.query import EventQuery
from factstr.requests import append_if_request, append_item, append_request
from factstr.resuming import Interrupted
from factstr.v1 import event_store_service_pb2

_LOOK_EVERY: Final = 0.5
"""Seconds. Two looks in a row must find the same before a call is ended: the first may come, after something has held
up the event loop, before the answers that have arrived meanwhile.
"""
_LOOK_FOR_CONNECTION_EVERY: Final = 0.01
"""Seconds. A wait for a change, which grpc.aio has too, must not be cancelled: its core still writes to it."""

Messages: TypeAlias = AsyncIterator[event_store_service_pb2.AppendStreamRequest]


class Answers(AioCall, Protocol):
    def __aiter__(self) -> AsyncIterator[event_store_service_pb2.AppendStreamResponse]: ...
    def cancel(self) -> object: ...


class PendingAppend(asyncio.Future[AppendResult]):
    """The future result of an append, to be awaited. Whoever cancels it only stops waiting: it is on its way."""

    failed_in: UnseenFailures | None = None
    is_seen = False

    def result(self) -> AppendResult:
        try:
            return super().result()
        except FactstrError:
            looked_at(self)
            raise

    def exception(self) -> BaseException | None:
        error = super().exception()
        looked_at(self)
        return error

    def is_reported(self) -> None:
        # Otherwise asyncio would log it, as one that was never retrieved.
        if not self.cancelled():
            super().exception()

    def __await__(self) -> Generator[Any, None, AppendResult]:
        was_seen = self.is_seen
        try:
            return (yield from super().__await__())
        except FactstrError:
            looked_at(self)
            raise
        except asyncio.CancelledError:
            if self.is_seen and not was_seen:
                self._overlooked()
            raise

    def _overlooked(self) -> None:
        """Take note that the task was woken with the outcome, but then told only that it is cancelled."""
        error = super().exception()
        if self.failed_in is not None and isinstance(error, FactstrError):
            self.failed_in.overlooked(self, error)

    __iter__ = __await__


class Appender:
    """Appends without waiting for each, as `factstr.Appender`, for one event loop.

        async with store.appender() as appender:
            for event in events:
                await appender.append(event)

    `append` waits only for room; awaiting what it returns waits for the result.
    """

    def __init__(
        self,
        pipelining: Pipelining[PendingAppend],
        open_call: Callable[[Messages], Answers],
        is_connected: Callable[[], bool],
    ) -> None:
        self._pipelining = pipelining
        self._open_call = open_call
        self._is_connected = is_connected
        self._changed = asyncio.Event()
        self._unseen = UnseenFailures()
        self._is_closing = False
        # The task that reads, as long as there is a call or something to be answered.
        self._reader: asyncio.Task[None] | None = None
        self._call: Answers | None = None
        # Stands for the call under way: gRPC's task for an earlier one takes nothing out any more.
        self._turn: object = None
        self._forgotten = weakref.finalize(self, warn_of_forgotten, pipelining, self._unseen)

    async def append(
        self, events: Event | Iterable[Event], *, idempotency_key: str | None = None
    ) -> PendingAppend:
        """Append one event or several as one batch: see `factstr.Appender.append`."""
        return await self._put(append_request(events, idempotency_key))

    async def append_if(
        self,
        events: Event | Iterable[Event],
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
    ) -> PendingAppend:
        """Append a batch on a condition: see `factstr.Appender.append_if`."""
        return await self._put(append_if_request(events, query, expected_context_version, idempotency_key))

    async def close(self) -> None:
        """Wait until everything is answered; raise the first failure whose result nobody has looked at.

        A caller that is cancelled meanwhile cancels the appender.
        """
        self._is_closing = True
        self._notify()
        reader = self._reader
        if reader is not None:
            try:
                await asyncio.wait([reader])
            except asyncio.CancelledError:
                await self.cancel()
                raise
            if not reader.cancelled():
                reader.result()
        # Whatever ended the task: nobody may wait for ever, or believe that all is well.
        self._end("the appender's task ended")
        self._forgotten.detach()
        self._unseen.throw()

    async def cancel(self) -> None:
        """Send nothing more, and wait for nothing: see `factstr.Appender.cancel`."""
        self._forgotten.detach()
        self._end("the appender was cancelled", is_reported=True)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.cancel()

    @property
    def is_open(self) -> bool:
        """Whether it has been neither closed nor cancelled."""
        return self._forgotten.alive

    async def _put(
        self, request: event_store_service_pb2.AppendRequest | event_store_service_pb2.AppendIfRequest
    ) -> PendingAppend:
        item = append_item(request)
        await self._wait_for(lambda: self._pipelining.has_room() or self._is_closing)
        if self._is_closing:
            raise appender_closed()
        pending = PendingAppend()
        self._pipelining.put(item, pending)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="factstr appender")
        self._notify()
        return pending

    async def _read(self) -> None:
        """Go on from call to call until everything is answered and no call is under way."""
        watch = asyncio.create_task(self._end_silences(), name="factstr appender watch")
        try:
            while self._pipelining.is_unanswered():
                try:
                    await self._read_one_call()
                except grpc.RpcError as failure:
                    await self._wait_after(failure)
                except grpc.aio.UsageError as refusal:
                    self._not_taken(refusal)
                self._tell()
        except BaseException as error:
            # Cancelled, or a defect; nobody may wait for ever.
            self._end(f"the appender was ended by {error!r}")
            raise
        finally:
            # Without an await since the last look: what is put from now on starts a task of its own.
            self._reader = None
            watch.cancel()

    async def _read_one_call(self) -> None:
        turn = self._turn = object()
        call = self._call = self._open_call(self._messages(turn))
        ended = EndedCall(call)
        try:
            async for response in call:
                self._pipelining.take(response)
                self._notify()
                self._tell()
        except grpc.aio.AioRpcError as failure:
            raise await ended.failure(failure) from None
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            # Only the call was: by the watch, or because the channel was closed.
            raise Interrupted("the call was cancelled", grpc.StatusCode.CANCELLED) from None
        finally:
            self._turn = self._call = None
            self._notify()
            call.cancel()
        if self._pipelining.is_unanswered():
            raise Interrupted("the stream ended without a reason")

    async def _messages(self, turn: object) -> Messages:
        """The messages of one call, each made when gRPC's task asks for it."""
        while self._turn is turn and not (self._is_connected() or self._is_done()):  # noqa: ASYNC110  (no event)
            await asyncio.sleep(_LOOK_FOR_CONNECTION_EVERY)
        while True:
            await self._wait_for(
                lambda: self._turn is not turn or self._pipelining.is_waiting() or self._is_closing
            )
            message = self._pipelining.message() if self._turn is turn else None
            if message is None:
                return
            yield message

    async def _wait_after(self, failure: grpc.RpcError) -> None:
        if failure.code() is grpc.StatusCode.CANCELLED and self._pipelining.is_overdue():
            failure = no_answer()
        delay = self._pipelining.interrupted(failure)
        self._notify()
        self._tell()
        await asyncio.sleep(delay)

    def _not_taken(self, refusal: Exception) -> None:
        """Take note that the channel takes no call: when that is not because it is closed, it is a defect."""
        if "closed" not in str(refusal):
            raise refusal
        self._pipelining.closed("the store was closed")
        self._notify()

    def _end(self, why: str, *, is_reported: bool = False) -> None:
        self._is_closing = True
        self._turn = None
        self._pipelining.closed(why)
        self._notify()
        self._tell(is_reported=is_reported)

    def _tell(self, *, is_reported: bool = False) -> None:
        self._unseen.settle(self._pipelining.settled(), is_reported=is_reported)

    def _is_done(self) -> bool:
        return self._is_closing and not self._pipelining.is_unanswered()

    async def _end_silences(self) -> None:
        """End the call when the last answer is too long ago, or all is answered and the server does not end it."""
        was_silent = False
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            is_silent = self._is_done() or self._pipelining.is_overdue()
            if self._call is not None and is_silent and was_silent:
                self._call.cancel()
            was_silent = is_silent

    async def _wait_for(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            await self._changed.wait()

    def _notify(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()
