"""Owns the asyncio store: `factstr.store` with awaits. What the operations mean is said there."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar

import grpc

from factstr.connection import DEFAULT_TARGET, DEFAULT_TIMEOUT, TLS, Metadata, connection
from factstr.errors import ConditionalAppendConflict
from factstr.event import AppendResult, Context, Event, EventRecord, as_events, timestamp_of
from factstr.query import EVERYTHING, EventQuery
from factstr.reading import Order, Reading, ResultPosition
from factstr.requests import append_effect, append_if_request, append_request
from factstr.retry import DEFAULT_RETRIES, Attempts, Effect, Retries, conflict_delays
from factstr.server_info import ServerInfo
from factstr.v1 import event_store_service_pb2, server_service_pb2
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from factstr.v1.server_service_pb2_grpc import ServerServiceStub

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Response_co = TypeVar("_Response_co", covariant=True)

_Decided: TypeAlias = Event | Iterable[Event] | None


def connect(
    target: str = DEFAULT_TARGET,
    *,
    tls: bool | TLS | None = None,
    token: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    retries: Retries = DEFAULT_RETRIES,
    allow_plaintext_token: bool = False,
) -> "EventStore":
    """Return the store at `target`, as `factstr.connect` does. To be called where an event loop runs."""
    to = connection(target, tls=tls, token=token, allow_plaintext_token=allow_plaintext_token)
    if to.credentials is None:
        channel = grpc.aio.insecure_channel(to.target, to.options)
    else:
        channel = grpc.aio.secure_channel(to.target, to.credentials, to.options)
    return EventStore(channel, timeout=timeout, retries=retries, metadata=to.metadata)


class _UnaryCall(Protocol[_Request_contra, _Response_co]):
    def __call__(
        self, request: _Request_contra, /, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Awaitable[_Response_co]: ...


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
        while records is not None:
            for record in records:
                yield record
            records = await self._next_message(self._new_attempts())

    async def _next_message(self, attempts: Attempts) -> list[EventRecord] | None:
        """Return the next message's facts; None at the end."""
        while True:
            try:
                return self._reading.take(await anext(self._messages))
            except StopAsyncIteration:
                return None
            except grpc.RpcError as failure:
                if self._opened_for is attempts or failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    await asyncio.sleep(attempts.delay_after(failure))
                # Else the call's time went by while earlier facts were used: this wait has its own.
            except asyncio.CancelledError as ended:
                if _is_being_cancelled():
                    raise
                attempts.cut_off(ended)
            self._open(attempts)


class EventStore:
    """A FACTSTR event store, as `factstr.EventStore`, for one event loop.

    Closes its channel as an async context manager.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        metadata: Metadata = (),
    ) -> None:
        self._channel = channel
        self._timeout = timeout
        self._retries = retries
        self._metadata = metadata
        self._events = EventStoreServiceStub(channel)
        self._server = ServerServiceStub(channel)

    async def append(
        self,
        events: Event | Iterable[Event],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit one event or several as one batch: see `factstr.EventStore.append`."""
        request, effect = append_request(events, idempotency_key), append_effect(idempotency_key)
        return AppendResult.from_proto(await self._call(self._events.Append, request, effect, timeout))

    async def append_if(
        self,
        events: Event | Iterable[Event],
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit a batch only if its context has the expected version: see `factstr.EventStore.append_if`."""
        request = append_if_request(events, query, expected_context_version, idempotency_key)
        effect = append_effect(idempotency_key)
        return AppendResult.from_proto(await self._call(self._events.AppendIf, request, effect, timeout))

    async def query(
        self,
        query: EventQuery = EVERYTHING,
        *,
        limit: int | None = None,
        order: Order = "ascending",
        before: int | None = None,
        timeout: float | None = None,
    ) -> QueryResult:
        """Return the facts that match, in one snapshot: see `factstr.EventStore.query`.

        async for record in await store.query(where("tool-registered")): ...
        """
        return await QueryResult(
            Reading(query, limit, order, before),
            lambda request, seconds: self._events.Query(request, timeout=seconds, metadata=self._metadata),
            lambda: self._attempts(Effect.NONE, timeout),
        ).start()

    async def read_context(self, query: EventQuery = EVERYTHING, *, timeout: float | None = None) -> Context:
        """Return all facts that match and their version, to decide on."""
        async with await self.query(query, timeout=timeout) as result:
            return Context(tuple([record async for record in result]), result.context_version)

    async def decide(
        self,
        query: EventQuery,
        decision: Callable[[Context], _Decided | Awaitable[_Decided]],
        *,
        attempts: int = 10,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult | None:
        """Read a context, decide, and append if it has not changed meanwhile: see `factstr.EventStore.decide`.

        The decision may be an async function.
        """
        delays = conflict_delays(attempts)
        while True:
            context = await self.read_context(query, timeout=timeout)
            decided = decision(context)
            events = as_events(await decided if inspect.isawaitable(decided) else decided)
            if not events:
                return None
            try:
                return await self.append_if(
                    events, query, context.version, idempotency_key=idempotency_key, timeout=timeout
                )
            except ConditionalAppendConflict:
                delay = next(delays, None)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return what the server is, where its log ends, and what it allows."""
        request = server_service_pb2.GetServerInfoRequest()
        return ServerInfo.from_proto(
            await self._call(self._server.GetServerInfo, request, Effect.NONE, timeout)
        )

    async def sequence_number_at(self, occurred_at: datetime, *, timeout: float | None = None) -> int:
        """Return the last sequence number committed at or before a moment; 0 when there is none.

        Raises ValueError when the moment has no time zone.
        """
        request = server_service_pb2.GetSequenceNumberAtRequest(occurred_at=timestamp_of(occurred_at))
        response = await self._call(self._server.GetSequenceNumberAt, request, Effect.NONE, timeout)
        return response.sequence_number

    async def close(self) -> None:
        """Close the channel and end what is still running on it. Calls after it raise StoreClosed."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _attempts(self, effect: Effect, timeout: float | None) -> Attempts:
        return Attempts(self._retries, self._timeout if timeout is None else timeout, effect)

    async def _call(
        self,
        method: _UnaryCall[_Request_contra, _Response_co],
        request: _Request_contra,
        effect: Effect,
        timeout: float | None,
    ) -> _Response_co:
        attempts = self._attempts(effect, timeout)
        while True:
            try:
                return await method(request, timeout=attempts.remaining(), metadata=self._metadata)
            except grpc.RpcError as failure:
                await asyncio.sleep(attempts.delay_after(failure))
            except grpc.aio.UsageError as refusal:
                attempts.not_taken(refusal)
            except asyncio.CancelledError as ended:
                if _is_being_cancelled():
                    raise
                attempts.cut_off(ended)


def _is_being_cancelled() -> bool:
    """Tell whether the caller is being cancelled; otherwise gRPC means the call, because its channel was closed."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
