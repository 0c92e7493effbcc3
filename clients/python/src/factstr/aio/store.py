"""Owns the asyncio store: `factstr.store` with awaits. What the operations mean is said there."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeAlias

import grpc

from factstr.aio.appender import Appender
from factstr.aio.durable_streams import DurableStreams
from factstr.aio.live_stream import LiveStream
from factstr.aio.query_result import QueryResult
from factstr.connection import DEFAULT_TARGET, DEFAULT_TIMEOUT, TLS, connection
from factstr.errors import ConditionalAppendConflict
from factstr.event import AppendResult, Context, Event, as_events, timestamp_of
from factstr.following import LiveFollowing
from factstr.pipelining import DEFAULT_MAX_UNANSWERED, Pipelining, appender_attempts
from factstr.query import EVERYTHING, EventQuery, checked_query
from factstr.reading import Order, Reading
from factstr.requests import (
    append_effect,
    append_if_request,
    append_request,
    append_result,
    made_key,
    with_key_in_doubt,
)
from factstr.resuming import OnInterruption
from factstr.retry import DEFAULT_RETRIES, Effect, Retries, conflict_delays
from factstr.server_info import ServerInfo
from factstr.v1 import event_store_service_pb2, server_service_pb2

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


class EventStore(DurableStreams):
    """A FACTSTR event store, as `factstr.EventStore`, for one event loop.

    Closes its channel as an async context manager.
    """

    async def append(
        self,
        events: Event | Iterable[Event],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit one event or several as one batch: see `factstr.EventStore.append`."""
        request = append_request(events, made_key(idempotency_key, self._retries))
        attempts = self._attempts(append_effect(request), timeout)
        with with_key_in_doubt(request):
            response = await self._call(self._events.Append, request, attempts)
        return append_result(response, idempotency_key)

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
        key = made_key(idempotency_key, self._retries)
        request = append_if_request(events, query, expected_context_version, key)
        attempts = self._attempts(append_effect(request), timeout)
        with with_key_in_doubt(request):
            response = await self._call(self._events.AppendIf, request, attempts)
        return append_result(response, idempotency_key)

    def appender(
        self, *, max_unanswered: int = DEFAULT_MAX_UNANSWERED, timeout: float | None = None
    ) -> Appender:
        """Return a pipeline of appends: see `factstr.EventStore.appender`."""
        attempts = appender_attempts(self._retries, timeout, self._timeout)
        appender = Appender(
            Pipelining(attempts, max_unanswered),
            lambda messages: self._events.AppendStream(messages, metadata=self._metadata),
            lambda: self._channel.get_state() is grpc.ChannelConnectivity.READY,
        )
        self._appenders.add(appender)
        return appender

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

    async def stream_all(
        self,
        *,
        after: int | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> LiveStream:
        """Return every batch that is committed from now on: see `factstr.EventStore.stream_all`."""
        following = LiveFollowing(after, self._resumption(give_up_after, on_interruption))
        return await LiveStream(
            following,
            lambda: self._events.StreamAll(
                event_store_service_pb2.StreamAllRequest(after_sequence_number=following.position),
                metadata=self._metadata,
            ),
        ).start()

    async def stream_to(
        self,
        query: EventQuery,
        *,
        after: int | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> LiveStream:
        """Return the batches that match, from now on or after a sequence number: see `factstr.EventStore.stream_to`.

        async with await store.stream_to(where("tool-registered"), after=0) as batches:
            async for batch in batches: ...
        """
        following = LiveFollowing(after, self._resumption(give_up_after, on_interruption))
        wanted = checked_query(query).to_proto()
        return await LiveStream(
            following,
            lambda: self._events.StreamTo(
                event_store_service_pb2.StreamToRequest(
                    query=wanted, after_sequence_number=following.position
                ),
                metadata=self._metadata,
            ),
        ).start()

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return what the server is, where its log ends, and what it allows."""
        attempts = self._attempts(Effect.NONE, timeout)
        request = server_service_pb2.GetServerInfoRequest()
        return ServerInfo.from_proto(await self._call(self._server.GetServerInfo, request, attempts))

    async def sequence_number_at(self, occurred_at: datetime, *, timeout: float | None = None) -> int:
        """Return the last sequence number committed at or before a moment; 0 when there is none.

        Raises ValueError when the moment has no time zone.
        """
        attempts = self._attempts(Effect.NONE, timeout)
        request = server_service_pb2.GetSequenceNumberAtRequest(occurred_at=timestamp_of(occurred_at))
        response = await self._call(self._server.GetSequenceNumberAt, request, attempts)
        return response.sequence_number
