"""Owns the reading of a query's result for synchronous callers, across lost connections."""

from collections.abc import Callable, Generator, Iterator
from time import sleep
from types import TracebackType
from typing import Protocol, Self

import grpc

from factstr.event import EventRecord
from factstr.reading import Reading, ResultPosition, ended_early
from factstr.retry import Attempts
from factstr.v1 import event_store_service_pb2


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
        attempts = self._new_attempts()
        while records is not None:
            yield from records
            if records:
                # Only then: a rest that never comes must not be asked for for ever.
                attempts = self._new_attempts()
            records = self._next_message(attempts)

    def _next_message(self, attempts: Attempts) -> list[EventRecord] | None:
        """Return the next message's facts; None at the end."""
        while True:
            try:
                return self._reading.take(next(self._call))
            except StopIteration:
                if self._reading.may_end():
                    return None
                sleep(attempts.delay_after(ended_early()))
            except grpc.RpcError as failure:
                if self._reading.is_complete():
                    return None
                if self._opened_for is attempts or failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    sleep(attempts.delay_after(failure))
                # Else the call's time went by while earlier facts were used: this wait has its own.
            self._open(attempts)
