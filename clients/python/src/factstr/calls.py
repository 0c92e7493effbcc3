"""Owns what every operation of the synchronous store stands on: the channel, and a call with its repetitions."""

import weakref
from contextlib import ExitStack
from time import sleep
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc

from factstr import connected
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
        self, request: _Request_contra, timeout: float | None = None, metadata: Metadata | None = None
    ) -> _Response_co: ...


class Appending(Protocol):
    """An appender, as a store knows it that is closed."""

    @property
    def is_open(self) -> bool: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...


class Calls:
    """A channel, how long a call on it may take, and how it is repeated."""

    def __init__(
        self,
        channel: grpc.Channel,
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

    def close(self) -> None:
        """Close the appenders, as their own `close` does, and the channel with what is still running on it.

        Calls after it raise StoreClosed.
        """
        with ExitStack() as ending:
            ending.callback(connected.close, self._channel)
            for appender in self._open_appenders():
                ending.callback(appender.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for appender in self._open_appenders():
                appender.cancel()
        self.close()

    def _open_appenders(self) -> list[Appending]:
        return [appender for appender in list(self._appenders) if appender.is_open]

    def _resumption(self, give_up_after: float | None, on_interruption: OnInterruption | None) -> Resumption:
        return Resumption(self._retries, self._timeout, give_up_after, self._ended_leases, on_interruption)

    def _attempts(self, effect: Effect, timeout: float | None) -> Attempts:
        timeout = self._timeout if timeout is None else checked_seconds("timeout", timeout)
        return Attempts(self._retries, timeout, effect, self._ended_leases)

    def _call(
        self,
        method: UnaryCall[_Request_contra, _Response_co],
        request: _Request_contra,
        attempts: Attempts,
    ) -> _Response_co:
        while True:
            try:
                response = method(request, timeout=attempts.remaining(), metadata=self._metadata)
                if response is None:
                    raise unreadable()
                return response
            except grpc.RpcError as failure:
                sleep(attempts.delay_after(failure))
            except ValueError as refusal:
                attempts.not_taken(refusal)
