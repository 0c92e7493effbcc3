"""Owns the pipelined appending of synchronous callers: one call for many appends, answered as they are committed.

Three kinds of threads take part: callers put appends in; gRPC's own takes out what waits as the next message, once the
last one is on its way; the appender's reads the answers, and opens the next call when one has failed. A fourth looks
again and again whether the server has gone silent. They share `_changed`, under which alone `Pipelining` is touched;
futures are told outside it, because their callbacks are the caller's code.

gRPC takes a message out before there is a connection, and then nobody knows whether it was sent; so none is handed out
before there is one.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, Self

import grpc

from factstr.event import Event
from factstr.forgotten import warn_of_forgotten
from factstr.pending_append import PendingAppend, UnseenFailures
from factstr.pipelining import Pipelining, appender_closed, no_answer
from factstr.query import EventQuery
from factstr.requests import append_if_request, append_item, append_request
from factstr.resuming import Interrupted
from factstr.v1 import event_store_service_pb2

_LOOK_EVERY: Final = 0.5
"""Seconds. Two looks in a row must find the same before a call is ended."""
_READER: Final = "factstr-appender"
_WATCH: Final = "factstr-appender-watch"
_LOST: Final = "the appender's thread ended, as in a forked process,"


class Answers(Protocol):
    def __iter__(self) -> Iterator[event_store_service_pb2.AppendStreamResponse]: ...
    def cancel(self) -> object: ...


class Appender:
    """Appends without waiting for each: as many as there are travel together, and are committed in this order.

        with store.appender() as appender:
            for event in events:
                appender.append(event)

    Each append is one of its own: it is committed, or fails, by itself, and one that fails does not hold back those
    after it. What it returns is the future result. Leaving the block waits until all are answered, and raises the first
    failure whose result nobody has looked at. An exception in the block, also one that a result raises, ends it at once
    (`cancel`): what waits is dropped.

    Nothing is delayed to fill a message. When so many are unanswered that there is no room, the next append waits.
    Interruptions are gone over as in a call of its own: what certainly was not committed is sent again, in order, and
    what has an idempotency key as well; the rest raises OutcomeUnknown. Safe to use from several threads. Callbacks of
    the futures run in the thread that reads the answers, and hold up those that follow.
    """

    def __init__(
        self,
        pipelining: Pipelining[PendingAppend],
        open_call: Callable[[Iterator[event_store_service_pb2.AppendStreamRequest]], Answers],
        when_connected: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._pipelining = pipelining
        self._open_call = open_call
        self._when_connected = when_connected
        self._changed = threading.Condition()
        self._unseen = UnseenFailures()
        self._is_closing = False
        self._is_cancelled = False
        # The thread that reads, as long as there is a call or something to be answered.
        self._reader: threading.Thread | None = None
        self._call: Answers | None = None
        # Stands for the call under way: gRPC's thread for an earlier one takes nothing out any more.
        self._turn: object = None
        self._connected_turn: object = None
        # While the caller's callbacks run, nobody can say that the server is silent.
        self._is_telling = False
        self._forgotten = weakref.finalize(self, warn_of_forgotten, pipelining, self._unseen)

    def append(self, events: Event | Iterable[Event], *, idempotency_key: str | None = None) -> PendingAppend:
        """Append one event or several as one batch: what `EventStore.append` would do, in its turn.

        Waits only for room. Raises ValueError, TypeError or BatchTooLarge when it can be sent to no server, and
        StoreClosed when the appender is closed.
        """
        return self._put(append_request(events, idempotency_key))

    def append_if(
        self,
        events: Event | Iterable[Event],
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
    ) -> PendingAppend:
        """Append a batch on a condition: what `EventStore.append_if` would do, in its turn.

        The condition is decided when its turn has come: it sees what the appends before it have committed.
        """
        return self._put(append_if_request(events, query, expected_context_version, idempotency_key))

    def close(self) -> None:
        """Wait until everything is answered; raise the first failure whose result nobody has looked at."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            reader = self._reader
        if reader is not threading.current_thread():
            if reader is not None:
                reader.join()
            with self._changed:
                # Whatever ended the thread: nobody may wait for ever, or believe that all is well.
                self._end(_LOST)
            self._tell()
            self._forgotten.detach()
        self._unseen.throw()

    def cancel(self) -> None:
        """Send nothing more, and wait for nothing.

        What was not sent raises StoreClosed, what was sent and is not answered OutcomeUnknown, when it is looked at.
        """
        self._forgotten.detach()
        with self._changed:
            self._is_cancelled = True
            self._end("the appender was cancelled")
            call, reader = self._call, self._reader
        if call is not None:
            call.cancel()
        self._tell()
        if reader is not None and reader is not threading.current_thread():
            reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.cancel()

    @property
    def is_open(self) -> bool:
        """Whether it has been neither closed nor cancelled."""
        return self._forgotten.alive

    def _put(
        self, request: event_store_service_pb2.AppendRequest | event_store_service_pb2.AppendIfRequest
    ) -> PendingAppend:
        item, pending = append_item(request), PendingAppend()
        with self._changed:
            # A callback in the thread that reads must not wait for what only this thread can bring about.
            self._changed.wait_for(
                lambda: (
                    self._pipelining.has_room()
                    or self._is_closing
                    or threading.current_thread() is self._reader
                )
            )
            if self._reader is not None and not self._reader.is_alive():
                self._end(_LOST)
            if self._is_closing:
                raise appender_closed()
            if self._reader is None:
                reader = threading.Thread(target=self._read, name=_READER, daemon=True)
                # Where none can be started, nothing has been put and the next append tries again.
                reader.start()
                self._reader = reader
            self._pipelining.put(item, pending)
            self._changed.notify_all()
        return pending

    def _read(self) -> None:
        """Go on from call to call until everything is answered and no call is under way."""
        over = threading.Event()
        try:
            threading.Thread(target=self._end_silences, args=(over,), name=_WATCH, daemon=True).start()
            while self._goes_on():
                try:
                    self._read_one_call()
                except grpc.RpcError as failure:
                    self._wait_after(failure)
                except ValueError as refusal:
                    self._not_taken(refusal)
                self._tell()
        except BaseException as error:
            # A defect, or what a callback has raised; nobody may wait for ever.
            with self._changed:
                self._end(f"the appender was ended by {error!r}")
            self._tell()
            raise
        finally:
            over.set()

    def _goes_on(self) -> bool:
        with self._changed:
            if not self._pipelining.is_unanswered():
                # In the same breath: what is put from now on starts a thread of its own.
                self._reader = None
            return self._reader is not None

    def _read_one_call(self) -> None:
        with self._changed:
            turn = self._turn = object()
        call = self._call = self._open_call(self._messages(turn))
        forget = self._when_connected(partial(self._connected, turn))
        try:
            if self._is_cancelled:
                # By another thread, which may not have seen this call.
                return
            for response in call:
                with self._changed:
                    self._pipelining.take(response)
                    self._changed.notify_all()
                self._tell()
            if self._pipelining.is_unanswered():
                raise Interrupted("the stream ended without a reason")
        finally:
            with self._changed:
                self._turn = self._call = None
                self._changed.notify_all()
            forget()
            call.cancel()

    def _connected(self, turn: object) -> None:
        with self._changed:
            self._connected_turn = turn
            self._changed.notify_all()

    def _messages(self, turn: object) -> Iterator[event_store_service_pb2.AppendStreamRequest]:
        """The messages of one call, each made when gRPC's thread asks for it."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._turn is not turn
                        or (self._pipelining.is_waiting() and self._connected_turn is turn)
                        or (self._is_closing and not self._pipelining.is_waiting())
                    )
                )
                message = self._pipelining.message() if self._turn is turn else None
            if message is None:
                return
            yield message

    def _wait_after(self, failure: grpc.RpcError) -> None:
        with self._changed:
            if failure.code() is grpc.StatusCode.CANCELLED and self._pipelining.is_overdue():
                failure = no_answer()
            delay = self._pipelining.interrupted(failure)
        self._tell()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_cancelled, delay)

    def _not_taken(self, refusal: ValueError) -> None:
        """Take note that the channel takes no call: when that is not because it is closed, it is a defect."""
        if "closed" not in str(refusal):
            raise refusal
        with self._changed:
            self._pipelining.closed("the store was closed")
            self._changed.notify_all()

    def _end(self, why: str) -> None:
        self._is_closing = True
        self._turn = None
        self._pipelining.closed(why)
        self._changed.notify_all()

    def _tell(self) -> None:
        with self._changed:
            settled = self._pipelining.settled()
            self._is_telling = bool(settled)
        if not settled:
            return
        began = monotonic()
        try:
            self._unseen.settle(settled)
        finally:
            with self._changed:
                self._is_telling = False
                self._pipelining.leave_out(monotonic() - began)

    def _end_silences(self, over: threading.Event) -> None:
        """End the call when the last answer is too long ago, or all is answered and the server does not end it."""
        was_silent = False
        while not over.wait(_LOOK_EVERY):
            with self._changed:
                is_done = self._is_closing and not self._pipelining.is_unanswered()
                is_silent = not self._is_telling and (is_done or self._pipelining.is_overdue())
                call = self._call if is_silent and was_silent else None
            was_silent = is_silent
            if call is not None:
                call.cancel()
