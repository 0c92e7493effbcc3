"""Owns the synchronous store: one method per operation, each a call with its repetitions."""

from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from time import sleep
from types import TracebackType
from typing import Protocol, Self, TypeVar

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


class _UnaryCall(Protocol[_Request_contra, _Response_co]):
    def __call__(
        self, request: _Request_contra, timeout: float | None = None, metadata: Metadata | None = None
    ) -> _Response_co: ...


class _Responses(Protocol):
    def __next__(self) -> event_store_service_pb2.QueryResponse: ...
    def cancel(self) -> object: ...


class QueryResult(ResultPosition):
    """The facts that a query returns, in the order asked, read from the server as they are iterated.

    A result of any size takes bounded memory, and is one snapshot even when the connection is lost in the middle.
    Leave it before its end with `close()` or as a context manager.
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
        attempts = new_attempts()
        self._open(attempts)
        # The first message is read now: it names the context version, and an error belongs to the query itself.
        self._records = self._read(self._next_message(attempts))

    def __iter__(self) -> Iterator[EventRecord]:
        return self._records

    def close(self) -> None:
        """Stop reading; the server stops sending. Harmless after the end, and again."""
        self._records.close()
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, attempts: Attempts) -> None:
        request = self._reading.request()
        try:
            self._call = self._open_call(request, attempts.remaining())
        except ValueError as refusal:
            attempts.not_taken(refusal)
        self._opened_for = attempts

    def _read(self, records: list[EventRecord] | None) -> Generator[EventRecord, None, None]:
        while records is not None:
            yield from records
            records = self._next_message(self._new_attempts())

    def _next_message(self, attempts: Attempts) -> list[EventRecord] | None:
        """Return the next message's facts; None at the end."""
        while True:
            try:
                return self._reading.take(next(self._call))
            except StopIteration:
                return None
            except grpc.RpcError as failure:
                if self._opened_for is attempts or failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    sleep(attempts.delay_after(failure))
                # Else the call's time went by while earlier facts were used: this wait has its own.
            self._open(attempts)


class EventStore:
    """A FACTSTR event store. Safe to use from several threads; closes its channel as a context manager.

    Every method raises a FactstrError when the server refuses or cannot be asked; `timeout` overrides, in seconds,
    how long the call may take with its repetitions. What was certainly not committed, and reads, and appends with
    an idempotency key are repeated after failures that may pass; no other append ever is.
    """

    def __init__(
        self,
        channel: grpc.Channel,
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

    def append(
        self,
        events: Event | Iterable[Event],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AppendResult:
        """Commit one event or several as one batch: all or none, durable when this returns.

        The same `idempotency_key` with the same events returns the first result again; with others it raises
        IdempotencyKeyReused. Raises OutcomeUnknown when the batch may or may not have been committed.
        """
        request, effect = append_request(events, idempotency_key), append_effect(idempotency_key)
        return AppendResult.from_proto(self._call(self._events.Append, request, effect, timeout))

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
        request = append_if_request(events, query, expected_context_version, idempotency_key)
        effect = append_effect(idempotency_key)
        return AppendResult.from_proto(self._call(self._events.AppendIf, request, effect, timeout))

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

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return what the server is, where its log ends, and what it allows."""
        request = server_service_pb2.GetServerInfoRequest()
        return ServerInfo.from_proto(self._call(self._server.GetServerInfo, request, Effect.NONE, timeout))

    def sequence_number_at(self, occurred_at: datetime, *, timeout: float | None = None) -> int:
        """Return the last sequence number committed at or before a moment; 0 when there is none.

        Raises ValueError when the moment has no time zone.
        """
        request = server_service_pb2.GetSequenceNumberAtRequest(occurred_at=timestamp_of(occurred_at))
        return self._call(self._server.GetSequenceNumberAt, request, Effect.NONE, timeout).sequence_number

    def close(self) -> None:
        """Close the channel and end what is still running on it. Calls after it raise StoreClosed."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempts(self, effect: Effect, timeout: float | None) -> Attempts:
        return Attempts(self._retries, self._timeout if timeout is None else timeout, effect)

    def _call(
        self,
        method: _UnaryCall[_Request_contra, _Response_co],
        request: _Request_contra,
        effect: Effect,
        timeout: float | None,
    ) -> _Response_co:
        attempts = self._attempts(effect, timeout)
        while True:
            try:
                return method(request, timeout=attempts.remaining(), metadata=self._metadata)
            except grpc.RpcError as failure:
                sleep(attempts.delay_after(failure))
            except ValueError as refusal:
                attempts.not_taken(refusal)
