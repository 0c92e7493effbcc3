"""Owns the reading of live streams for synchronous callers: one call after the other, as batches are asked for."""

from collections.abc import Callable, Iterator
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, Self
from weakref import ref

import grpc

from factstr.batch import CommittedBatch
from factstr.errors import FactstrError
from factstr.following import BatchT, Following, Message, StreamState
from factstr.resuming import Interrupted, stream_closed

_LOOK_EVERY: Final = 1.0
_WATCH: Final = "factstr-stream-watch"
_NEVER: Final = float("inf")


class Responses(Protocol):
    def __iter__(self) -> Iterator[Message]: ...
    def __next__(self) -> Message: ...
    def cancel(self) -> object: ...


class Reader(StreamState[BatchT]):
    """Iterates the batches of a stream, and takes it up again by itself after failures that may pass.

    A server that goes silent is noticed by the heartbeats that it no longer sends. The channel's pings do not show it:
    they are answered by the nearest proxy, and for a server whose own work hangs. Because reading blocks, a thread
    looks every second whether the wait under way is too long, and ends the call then; that costs the reader two
    assignments a message. It may end a call that has just come back to life: the next goes on at the same position.
    """

    def __init__(self, following: Following[BatchT], open_call: Callable[[], Responses]) -> None:
        self._following = following
        self._open_call = open_call
        self._call: Responses | None = None
        self._closed = Event()
        self._failure: FactstrError | None = None
        self._being_read = Lock()
        self._wait_ends_at = _NEVER
        Thread(target=_end_silences, args=(ref(self), self._closed), daemon=True, name=_WATCH).start()
        try:
            # Read now, so that registration is active and an error belongs to the opening of the stream.
            self._advance(lambda: following.resumption.is_open)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchT:
        if not self._advance(self._following.has_batch):
            raise StopIteration
        return self._following.hand_over()

    def until_caught_up(self) -> Iterator[BatchT]:
        """Return the batches up to the head, and stop there; afterwards the stream itself goes on.

        Iterating raises StoreClosed when the stream is closed, because then it has not reached the head.
        """
        while True:
            if not self._advance(self._following.has_batch_or_caught_up):
                raise stream_closed()
            if not self._following.has_batch():
                return
            yield self._following.hand_over()

    def close(self) -> None:
        """End the stream, also for a thread that is reading it. Harmless after the end, and again."""
        self._closed.set()
        self._drop_call()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, is_enough: Callable[[], bool]) -> bool:
        """Read until it is enough, through as many calls as it takes; return False when the stream is closed."""
        if not self._being_read.acquire(blocking=False):
            raise RuntimeError("another thread is reading this stream; give each thread a stream of its own")
        self._following.resumption.read_here()
        try:
            while not self._closed.is_set():
                if is_enough():
                    return True
                try:
                    self._following.take(self._receive())
                except grpc.RpcError as failure:
                    self._call = None
                    if not self._closed.is_set():
                        self._closed.wait(self._following.delay_after(failure))
        except FactstrError:
            self.close()
            raise
        except BaseException:
            # The caller was interrupted, perhaps with a message in hand, and gRPC cannot read on in this call.
            self._following.resumption.is_open = False
            self._drop_call()
            raise
        finally:
            self._being_read.release()
        told, self._failure = self._failure, None
        if told:
            raise told
        return False

    def _fail(self, failure: FactstrError) -> None:
        """Close the stream for a reason that a thread that is reading it is to know as well."""
        self._failure = failure
        self.close()

    def _receive(self) -> Message:
        call = self._call or self._open()
        patience = self._following.resumption.patience()
        ends_at = self._wait_ends_at = monotonic() + patience
        try:
            message = next(call, None)
        except grpc.RpcError as failure:
            if failure.code() is grpc.StatusCode.CANCELLED and monotonic() >= ends_at:
                raise self._following.resumption.silence(patience) from failure
            raise
        finally:
            self._wait_ends_at = _NEVER
        if message is None:
            raise Interrupted("the stream ended without a reason")
        return message

    def _drop_call(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _open(self) -> Responses:
        try:
            call = self._call = self._open_call()
        except ValueError as refusal:
            self._following.resumption.not_taken(refusal)
        if self._closed.is_set():
            # By another thread, which may not have seen this call.
            call.cancel()
        return call

    def end_silence(self) -> None:
        """End the call when somebody has waited for it too long."""
        call = self._call
        if monotonic() >= self._wait_ends_at and call is not None:
            self._wait_ends_at = _NEVER
            call.cancel()


def _end_silences(watched: "ref[Reader[BatchT]]", closed: Event) -> None:
    while not closed.wait(_LOOK_EVERY):
        reader = watched()
        if reader is None:
            return
        reader.end_silence()
        del reader


class LiveStream(Reader[CommittedBatch]):
    """Committed batches in commit order, each once: iterated, for as long as it takes.

    An interruption that may pass (a lost connection, a server that stops or is busy) is gone over without a batch lost
    or repeated. Iterating raises what will not pass, and LogDiverged when the server's log has become another one;
    then the stream is closed. Leave it with `close()` or as a context manager.
    """
