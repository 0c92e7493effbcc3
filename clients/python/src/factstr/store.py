"""Owns the synchronous store: one method per operation, each a call with its repetitions."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from time import sleep

import grpc

from factstr.appender import Appender
from factstr.connected import when_connected
from factstr.connection import DEFAULT_TARGET, DEFAULT_TIMEOUT, TLS, connection
from factstr.durable_streams import DurableStreams
from factstr.errors import ConditionalAppendConflict
from factstr.event import AppendResult, Context, Event, as_events, timestamp_of
from factstr.following import LiveFollowing
from factstr.live_stream import LiveStream
from factstr.pipelining import DEFAULT_MAX_UNANSWERED, Pipelining, appender_attempts
from factstr.query import EVERYTHING, EventQuery, checked_query
from factstr.query_result import QueryResult
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


def connect(
    target: str = DEFAULT_TARGET,
    *,
    tls: bool | TLS | None = None,
    token: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    retries: Retries = DEFAULT_RETRIES,
    allow_plaintext_token: bool = False,
) -> "EventStore":
    """Return the store at `target`, for example `localhost:50051` or `unix:/run/factstr.sock`.

    `tls` is True for TLS with the well-known authorities, or a TLS with files; `token` is sent with every call.
    `timeout` is how many seconds a call may take, its repetitions included; None is no limit. Nothing is sent yet:
    a server that cannot be reached shows at the first call.

    Raises ValueError when `target` is no address or has no port, and when a token would cross a network in plaintext
    and `allow_plaintext_token` does not say that it may; OSError when a file of `tls` cannot be read.
    """
    to = connection(target, tls=tls, token=token, allow_plaintext_token=allow_plaintext_token)
    if to.credentials is None:
        channel = grpc.insecure_channel(to.target, to.options)
    else:
        channel = grpc.secure_channel(to.target, to.credentials, to.options)
    return EventStore(channel, timeout=timeout, retries=retries, metadata=to.metadata)


class EventStore(DurableStreams):
    """A FACTSTR event store. Safe to use from several threads; closes its channel as a context manager.

    Every method raises a FactstrError when the server refuses or cannot be asked; `timeout` overrides, in seconds,
    how long the call may take with its repetitions. Failures that may pass are gone over: an append has an idempotency
    key, which is made for it where the caller gives none, and commits once however often it is sent. With
    `Retries(limit=0)` nothing is repeated, and no key is made.
    """

    def append(
        self,
        events: Event | Iterable[Event],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit one event or several as one batch: all or none, durable when this returns.

        The same `idempotency_key` with the same events returns the first result again; with others it raises
        IdempotencyKeyReused. Without one each append gets a random key of its own, so that it can be repeated after a
        lost answer. Raises OutcomeUnknown when the batch may or may not have been committed even so.
        """
        request = append_request(events, made_key(idempotency_key, self._retries))
        attempts = self._attempts(append_effect(request), timeout)
        with with_key_in_doubt(request):
            response = self._call(self._events.Append, request, attempts)
        return append_result(response, idempotency_key)

    def append_if(
        self,
        events: Event | Iterable[Event],
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit a batch only if the query's context has exactly the expected version; None expects no fact at all.

        Raises ConditionalAppendConflict, with the expected and the actual version, when it has another one: then
        nothing was committed. Otherwise as `append`.
        """
        key = made_key(idempotency_key, self._retries)
        request = append_if_request(events, query, expected_context_version, key)
        attempts = self._attempts(append_effect(request), timeout)
        with with_key_in_doubt(request):
            response = self._call(self._events.AppendIf, request, attempts)
        return append_result(response, idempotency_key)

    def appender(
        self, *, max_unanswered: int = DEFAULT_MAX_UNANSWERED, timeout: float | None = None
    ) -> Appender:
        """Return a pipeline of appends: many at once, committed in order, each with its own result.

        At most `max_unanswered` appends, and beyond one of them 8 MiB, are under way. `timeout` is how many seconds may
        go by without any answer, however often something is repeated meanwhile (`Retries(limit=0)` repeats nothing).

        Closing the store closes it too; an exception in the store's block cancels it.
        """
        attempts = appender_attempts(self._retries, timeout, self._timeout)
        appender = Appender(
            Pipelining(attempts, max_unanswered),
            lambda messages: self._events.AppendStream(messages, metadata=self._metadata),
            partial(when_connected, self._channel),
        )
        self._appenders.add(appender)
        return appender

    def query(
        self,
        query: EventQuery = EVERYTHING,
        *,
        limit: int | None = None,
        order: Order = "ascending",
        before: int | None = None,
        timeout: float | None = None,
    ) -> QueryResult:
        """Return the facts that match, in one snapshot, oldest first unless `order` is "descending".

        `limit` returns at most so many (0: only the context version); `before` only facts strictly before a
        sequence number. `timeout` bounds each wait for the next part of the result, not the whole reading.
        """
        return QueryResult(
            Reading(query, limit, order, before),
            lambda request, seconds: self._events.Query(request, timeout=seconds, metadata=self._metadata),
            lambda: self._attempts(Effect.NONE, timeout),
        )

    def read_context(
        self,
        query: EventQuery = EVERYTHING,
        *,
        timeout: float | None = None,
    ) -> Context:
        """Return all facts that match and their version, to decide on."""
        with self.query(query, timeout=timeout) as result:
            return Context(tuple(result), result.context_version)

    def decide(
        self,
        query: EventQuery,
        decision: Callable[[Context], Event | Iterable[Event] | None],
        *,
        attempts: int = 10,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult | None:
        """Read a context, decide, and append on the condition that the context has not changed meanwhile.

        When it has, read and decide again, at most `attempts` times in all, after a random wait of at most 0.01 s,
        doubled each time up to 0.5 s; then raise the last ConditionalAppendConflict. Returns None when the decision
        is to append nothing. An exception of the decision goes to the caller, and nothing is appended. `timeout` is
        for each call.

        A decision that is made again is another request, so a key that has been committed with raises
        IdempotencyKeyReused: the key tells that it has been decided before.
        """
        delays = conflict_delays(attempts)
        while True:
            context = self.read_context(query, timeout=timeout)
            events = as_events(decision(context))
            if not events:
                return None
            try:
                return self.append_if(
                    events, query, context.version, idempotency_key=idempotency_key, timeout=timeout
                )
            except ConditionalAppendConflict:
                delay = next(delays, None)
                if delay is None:
                    raise
            sleep(delay)

    def stream_all(
        self,
        *,
        after: int | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> LiveStream:
        """Return every batch that is committed from now on: `stream_to` with the query for everything."""
        following = LiveFollowing(after, self._resumption(give_up_after, on_interruption))
        return LiveStream(
            following,
            lambda: self._events.StreamAll(
                event_store_service_pb2.StreamAllRequest(after_sequence_number=following.position),
                metadata=self._metadata,
            ),
        )

    def stream_to(
        self,
        query: EventQuery,
        *,
        after: int | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> LiveStream:
        """Return the batches that match and are committed from now on, or strictly after a sequence number (0: all).

            with store.stream_to(where("tool-registered"), after=0) as batches:
                for batch in batches: ...

        Whatever is appended after this has returned is delivered. The stream has no end of its own: after interruptions
        that may pass it goes on where it was, for as long as it takes, or until it has not come further for
        `give_up_after` seconds. Raises CursorAheadOfLog when the log does not reach so far.

        `on_interruption` is called in the thread that reads the stream: once with the error when it is interrupted,
        however often it is tried again, and once with None when it goes on. What it raises goes to the reader.
        """
        following = LiveFollowing(after, self._resumption(give_up_after, on_interruption))
        wanted = checked_query(query).to_proto()
        return LiveStream(
            following,
            lambda: self._events.StreamTo(
                event_store_service_pb2.StreamToRequest(
                    query=wanted, after_sequence_number=following.position
                ),
                metadata=self._metadata,
            ),
        )

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return what the server is, where its log ends, and what it allows."""
        attempts = self._attempts(Effect.NONE, timeout)
        request = server_service_pb2.GetServerInfoRequest()
        return ServerInfo.from_proto(self._call(self._server.GetServerInfo, request, attempts))

    def sequence_number_at(self, occurred_at: datetime, *, timeout: float | None = None) -> int:
        """Return the last sequence number committed at or before a moment; 0 when there is none.

        Raises ValueError when the moment has no time zone.
        """
        attempts = self._attempts(Effect.NONE, timeout)
        request = server_service_pb2.GetSequenceNumberAtRequest(occurred_at=timestamp_of(occurred_at))
        return self._call(self._server.GetSequenceNumberAt, request, attempts).sequence_number
