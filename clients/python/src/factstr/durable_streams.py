"""Owns the durable streams of the synchronous store: consuming, projecting, and looking after them."""

from collections.abc import Callable, Iterator

from factstr.batch import DurableBatch
from factstr.calls import Calls
from factstr.connection import DEFAULT_TIMEOUT
from factstr.consuming import Consuming, OnWaiting
from factstr.durable_batches import DurableBatches
from factstr.durable_requests import (
    ANSWER_TIME,
    await_request,
    bounded,
    delete_request,
    get_request,
    list_request,
    reset_request,
    stream_all_durable_request,
    stream_to_durable_request,
)
from factstr.durable_stream import AwaitResult, DurableStreamInfo, Start
from factstr.query import EventQuery
from factstr.resuming import OnInterruption
from factstr.retry import Effect
from factstr.v1 import durable_stream_service_pb2


class DurableStreams(Calls):
    """The part of the store that keeps cursors under names."""

    def stream_all_durable(
        self,
        name: str,
        *,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> DurableBatches:
        """Consume all batches under a name: `stream_to_durable` with the query for everything."""
        request = stream_all_durable_request(
            name, max_unacknowledged_batches, start, wait_for_lease=wait_for_lease
        )
        consuming = Consuming(request, on_waiting, self._resumption(give_up_after, on_interruption))
        return DurableBatches(
            consuming,
            lambda: self._events.StreamAllDurable(request, metadata=self._metadata),
            lambda asked, attempts: self._call(self._events.AcknowledgeDurable, asked, attempts),
        )

    def stream_to_durable(
        self,
        name: str,
        query: EventQuery,
        *,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> DurableBatches:
        """Consume, under a name, the batches that match, from the cursor on that the store keeps for it.

            with store.stream_to_durable("inventory", query) as batches:
                for batch in batches:
                    ...
                    batches.acknowledge(batch)

        What is not acknowledged is delivered again to the name's next consumer; there is one at a time, which has the
        lease. When this returns, this one has it. While another does, it raises DurableStreamActive, or with
        `wait_for_lease` waits for as long as it takes, through restarts of the server too, and `on_waiting` is told of
        each sign that it still has to; what that raises ends the waiting.

        A new name begins before the first fact, or strictly after the sequence number `start`, or at `AT_HEAD`; it is
        bound to the query, and QueryMismatch raised for another. At most `max_unacknowledged_batches` are sent beyond
        what is acknowledged (0: what the server finds right). `give_up_after` and `on_interruption`: see `stream_to`;
        an acknowledgement that has to be repeated is an interruption too, when it is made in the thread that reads.
        """
        request = stream_to_durable_request(
            name, query, max_unacknowledged_batches, start, wait_for_lease=wait_for_lease
        )
        consuming = Consuming(request, on_waiting, self._resumption(give_up_after, on_interruption))
        return DurableBatches(
            consuming,
            lambda: self._events.StreamToDurable(request, metadata=self._metadata),
            lambda asked, attempts: self._call(self._events.AcknowledgeDurable, asked, attempts),
        )

    def project(
        self,
        name: str,
        query: EventQuery,
        handler: Callable[[DurableBatch], object],
        *,
        stop_when_caught_up: bool = False,
        max_unacknowledged_batches: int = 0,
        wait_for_lease: bool = False,
        start: int | Start | None = None,
        on_waiting: OnWaiting | None = None,
        give_up_after: float | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> None:
        """Run `handler(batch)` for each batch of a durable stream, and acknowledge it after the handler returned.

        An exception of the handler goes to the caller: the batches before it are acknowledged, it and those after it
        are not (of an interrupt, such as Ctrl-C, nothing more is). Without one this returns only with
        `stop_when_caught_up`, when all up to the head is handled and acknowledged. What comes together is acknowledged
        together, once it is all handled or the handler returns a tenth of a second after the last time: after a crash
        that much is handled again. An interruption of the connection alone repeats nothing.
        """
        with self.stream_to_durable(
            name,
            query,
            max_unacknowledged_batches=max_unacknowledged_batches,
            wait_for_lease=wait_for_lease,
            start=start,
            on_waiting=on_waiting,
            give_up_after=give_up_after,
            on_interruption=on_interruption,
        ) as batches:
            batches.project(handler, stop_when_caught_up=stop_when_caught_up)

    def durable_streams(
        self, name_prefix: str = "", *, timeout: float | None = None
    ) -> Iterator[DurableStreamInfo]:
        """Return the durable streams whose names begin so, by name; they are asked for, a page a call, as iterated."""
        return self._pages(list_request(name_prefix), timeout)

    def _pages(
        self, request: durable_stream_service_pb2.ListDurableStreamsRequest, timeout: float | None
    ) -> Iterator[DurableStreamInfo]:
        more = True
        while more:
            attempts = self._attempts(Effect.NONE, timeout)
            response = self._call(self._durable.ListDurableStreams, request, attempts)
            yield from map(DurableStreamInfo.from_proto, response.durable_streams)
            request.page_token = response.next_page_token
            more = bool(request.page_token)

    def durable_stream(self, name: str, *, timeout: float | None = None) -> DurableStreamInfo:
        """Return how a durable stream stands. Raises DurableStreamNotFound."""
        attempts = self._attempts(Effect.NONE, timeout)
        response = self._call(self._durable.GetDurableStream, get_request(name), attempts)
        return DurableStreamInfo.from_proto(response.durable_stream)

    def reset_durable_stream(
        self, name: str, cursor: int = 0, *, force: bool = False, timeout: float | None = None
    ) -> DurableStreamInfo:
        """Move the cursor of a durable stream, back or forth; 0 is before the first fact.

        While it has a consumer this takes `force`, which ends that one's lease, and raises DurableStreamActive without.
        Raises OutcomeUnknown when it may or may not have been moved: it is not repeated then, because a consumer may
        have gone on in between. Raises CursorAheadOfLog, and DurableStreamNotFound.
        """
        attempts, request = self._attempts(Effect.TWICE, timeout), reset_request(name, cursor, force=force)
        response = self._call(self._durable.ResetDurableStream, request, attempts)
        return DurableStreamInfo.from_proto(response.durable_stream)

    def delete_durable_stream(self, name: str, *, force: bool = False, timeout: float | None = None) -> None:
        """Forget the name of a durable stream, its query and its cursor.

        While it has a consumer this takes `force`, which ends that one's lease, and raises DurableStreamActive without.
        Raises OutcomeUnknown when it may or may not be gone: it is not repeated then, because a new one may have been
        made under the name in between. Raises DurableStreamNotFound.
        """
        attempts, request = self._attempts(Effect.TWICE, timeout), delete_request(name, force=force)
        self._call(self._durable.DeleteDurableStream, request, attempts)

    def await_durable_stream(
        self, name: str, sequence_number: int, *, timeout: float = DEFAULT_TIMEOUT
    ) -> AwaitResult:
        """Wait until the cursor has reached a sequence number: to read your own writes through a projection.

        After `timeout` seconds it returns nevertheless, with `reached` False. Raises DurableStreamNotFound.
        """
        request = await_request(name, sequence_number, timeout)
        attempts = self._attempts(Effect.NONE, timeout + ANSWER_TIME)
        response = self._call(
            lambda asked, timeout=None, metadata=None: self._durable.AwaitDurableStream(
                bounded(asked, timeout), timeout=timeout, metadata=metadata
            ),
            request,
            attempts,
        )
        return AwaitResult(response.cursor, response.reached)
