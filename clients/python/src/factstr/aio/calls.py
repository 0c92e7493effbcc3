"""Owns what every operation of the asyncio store stands on: `factstr.calls` with awaits."""

import asyncio
import weakref
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc

from factstr.checks import checked_seconds
from factstr.connection import DEFAULT_TIMEOUT, Metadata
from factstr.resuming import OnInterruption, Resumption, unreadable
from factstr.retry import DEFAULT_RETRIES, Attempts, Effect, Retries
from factstr.v1.durable_stream_service_pb2_grpc import DurableStreamServiceStub
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from factstr.v1.server_service_pb2_grpc import ServerServiceStub

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Response_co = TypeVar("_Response_co", covariant=True)


class UnaryCall(Protocol[_Request_contra, _Response_co]):
    def __call__(
        self, request: _Request_contra, /, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Awaitable[_Response_co]: ...


class Appending(Protocol):
    """An appender, as a store knows it that is closed."""

    @property
    def is_open(self) -> bool: ...
    async def close(self) -> None: ...
    async def cancel(self) -> None: ...


class Calls:
    """A channel, how long a call on it may take, and how it is repeated."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        metadata: Metadata = (),
    ) -> None:
        self._channel = channel
        self._timeout = checked_seconds("timeout", timeout)
        self._retries = retries
        self._metadata = metadata
        self._ended_leases: set[int] = set()
        self._appenders: weakref.WeakSet[Appending] = weakref.WeakSet()
        self._events = EventStoreServiceStub(channel)
        self._durable = DurableStreamServiceStub(channel)
        self._server = ServerServiceStub(channel)

    async def close(self) -> None:
        """Close the appenders and the channel: see `factstr.EventStore.close`."""
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self._channel.close)
            for appender in self._open_appenders():
                ending.push_async_callback(appender.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for appender in self._open_appenders():
                await appender.cancel()
        await self.close()

    def _open_appenders(self) -> list[Appending]:
        return [appender for appender in list(self._appenders) if appender.is_open]

    def _resumption(self, give_up_after: float | None, on_interruption: OnInterruption | None) -> Resumption:
        return Resumption(self._retries, self._timeout, give_up_after, self._ended_leases, on_interruption)

    def _attempts(self, effect: Effect, timeout: float | None) -> Attempts:
        timeout = self._timeout if timeout is None else checked_seconds("timeout", timeout)
        return Attempts(self._retries, timeout, effect, self._ended_leases)

    async def _call(
        self,
        method: UnaryCall[_Request_contra, _Response_co],
        request: _Request_contra,
        attempts: Attempts,
    ) -> _Response_co:
        while True:
            try:
                response = await method(request, timeout=attempts.remaining(), metadata=self._metadata)
                if response is None:
                    raise unreadable()
                return response
            except grpc.RpcError as failure:
                await asyncio.sleep(attempts.delay_after(failure))
            except grpc.aio.UsageError as refusal:
                attempts.not_taken(refusal)
            except asyncio.CancelledError as ended:
                if is_being_cancelled():
                    raise
                attempts.cut_off(ended)


def is_being_cancelled() -> bool:
    """Tell whether the caller is being cancelled; otherwise gRPC means the call, because its channel was closed."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
