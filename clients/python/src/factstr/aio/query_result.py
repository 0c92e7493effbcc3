"""Owns the reading of a query's result for asyncio, across lost connections: `factstr.query_result` with awaits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Protocol, Self

import grpc

from factstr.aio.calls import is_being_cancelled
from factstr.event import EventRecord
from factstr.reading import Reading, ResultPosition, ended_early
from factstr.resuming import unreadable
from factstr.retry import Attempts
from factstr.v1 import event_store_service_pb2


class _Responses(Protocol):
    def __aiter__(self) -> AsyncIterator[event_store_service_pb2.QueryResponse]: ...
    def cancel(self) -> bool: ...


class QueryResult(ResultPosition):
    """The facts that a query returns, as `factstr.QueryResult`, iterated with `async for`.

    Leave it before its end with `await close()` or as an async context manager.
    """

    def __init__(
        self,
        reading: Reading,
        open_call: Callable[[event_store_service_pb2.QueryRequest, float | None], _Responses],
        new_attempts: Callable[[], Attempts],
    ) -> None:
        super().__init__(reading)
        self._open_call = open_call
        self._new_attempts = new_attempts

    async def start(self) -> Self:
        """Read the first message: it names the context version, and an error belongs to the query itself."""
        attempts = self._new_attempts()
        self._open(attempts)
        self._records = self._read(await self._next_message(attempts))
        return self

    def __aiter__(self) -> AsyncIterator[EventRecord]:
        return self._records

    async def close(self) -> None:
        """Stop reading; the server stops sending. Harmless after the end, and again."""
        self._call.cancel()
        await self._records.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self, attempts: Attempts) -> None:
        try:
            self._call = self._open_call(self._reading.request(), attempts.remaining())
        except grpc.aio.UsageError as refusal:
            attempts.not_taken(refusal)
        self._messages = aiter(self._call)
        self._opened_for = attempts

    async def _read(self, records: list[EventRecord] | None) -> AsyncGenerator[EventRecord, None]:
        attempts = self._new_attempts()
        while records is not None:
            for record in records:
                yield record
            if records:
                # Only then: a rest that never comes must not be asked for for ever.
                attempts = self._new_attempts()
            records = await self._next_message(attempts)

    async def _next_message(self, attempts: Attempts) -> list[EventRecord] | None:
        """Return the next message's facts; None at the end."""
        while True:
            try:
                message: event_store_service_pb2.QueryResponse | None = await anext(self._messages)
                # What cannot be decoded, gRPC hands over as None.
                if message is None:
                    self._call.cancel()
                    raise unreadable()
                return self._reading.take(message)
            except StopAsyncIteration:
                if self._reading.may_end():
                    return None
                await asyncio.sleep(attempts.delay_after(ended_early()))
            except grpc.RpcError as failure:
                if self._reading.is_complete():
                    return None
                if self._opened_for is attempts or failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    await asyncio.sleep(attempts.delay_after(failure))
                # Else the call's time went by while earlier facts were used: this wait has its own.
            except asyncio.CancelledError as ended:
                if is_being_cancelled():
                    raise
                attempts.cut_off(ended)
            self._open(attempts)
