"""Owns when an interrupted stream is taken up again, after how long, and how long a silence is an interruption.

Pure: the synchronous and the asyncio streams drive it, each with its own way to read and to wait.
"""

from collections.abc import Callable
from threading import get_ident
from typing import Final, NoReturn, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration

from factstr.errors import FactstrError, StoreClosed
from factstr.retry import Attempts, Effect, LastingAttempts, Retries

_HEARTBEATS_MISSED: Final = 3
_GRACE: Final = 5.0
"""Seconds beyond the heartbeats, for a server, a network or a caller's machine that is busy."""
_USUAL_HEARTBEAT: Final = 10.0
"""Seconds between the messages of a server that has not said yet how often they come."""
_LONGEST_HEARTBEAT: Final = 86_400.0

OnInterruption: TypeAlias = Callable[[FactstrError | None], object]
"""Is told why a stream is interrupted, and None when it goes on again."""


class Interrupted(grpc.RpcError):
    """A stream that fell silent, or ended without saying why: by default as good as a lost connection."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__(message)
        self._message = message
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[()]:
        return ()


def unreadable() -> Interrupted:
    """Return what it is when gRPC hands over nothing for a message: there was none, or it could not be decoded."""
    return Interrupted("the server's answer is none that can be read", grpc.StatusCode.INTERNAL)


def stream_closed() -> StoreClosed:
    """Return what somebody gets who wanted more of a stream that was closed."""
    return StoreClosed("the stream is closed", code=grpc.StatusCode.CANCELLED)


class Resumption:
    """One stream's way through interruptions.

    Until it has begun, the ordinary limits of a call hold. From then on it is taken up again for as long as it takes,
    or for `give_up_after` seconds in which it did not come further.

    `on_interruption` is told of each interruption once, whether reading or acknowledging notices it, and once that the
    stream goes on: in the thread that reads the stream. What another one acknowledges tells nothing, because the reader
    notices by itself.
    """

    def __init__(
        self,
        retries: Retries,
        timeout: float | None,
        give_up_after: float | None,
        ended_leases: set[int],
        on_interruption: OnInterruption | None = None,
    ) -> None:
        self._retries = retries
        self._timeout = timeout
        self.ended_leases = ended_leases
        self._give_up_after = give_up_after
        self._on_interruption = on_interruption
        self._reader = get_ident()
        self._is_interrupted = False
        self._heartbeat = _USUAL_HEARTBEAT
        self._has_begun = False
        self.is_open = False
        self._attempts: Attempts | None = self.ordinary_attempts()

    def read_here(self) -> None:
        """Take note that the stream is being read in this thread."""
        self._reader = get_ident()

    def opened(self, heartbeat_interval: Duration) -> None:
        """Take note that a call has begun to deliver, and how often it says something from now on."""
        seconds = heartbeat_interval.seconds + heartbeat_interval.nanos / 1e9
        self._heartbeat = min(seconds, _LONGEST_HEARTBEAT) if seconds > 0 else _USUAL_HEARTBEAT
        self.is_open = True
        if not self._has_begun:
            self._has_begun = True
            self._attempts = None
        self._goes_on()

    def progressed(self) -> None:
        """Take note that the stream came further, or lives for long enough to say that it does not: whatever fails
        then fails anew. A beginning alone is none of that, because a server may fail after each.
        """
        if self._has_begun:
            self._attempts = None

    def heard(self) -> None:
        """Take note of any message."""
        if self.is_open:
            # Only an acknowledgement was interrupted.
            self._goes_on()

    def waits(self) -> None:
        """Take note that this consumer is to wait for its turn: from now on it lasts as one that has begun."""
        self._has_begun = True
        self._attempts = None

    def patience(self) -> float:
        """Return how many seconds to wait for the next message."""
        silence = _HEARTBEATS_MISSED * self._heartbeat + _GRACE
        left = None if self.is_open or self._attempts is None else self._attempts.remaining()
        return silence if left is None else min(silence, left)

    def silence(self, seconds: float) -> Interrupted:
        """Return what it is that nothing came for so many seconds: before the first beginning, the end of its time."""
        is_late = not self._has_begun and self._attempts is not None and self._attempts.remaining() == 0.0
        code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.UNAVAILABLE
        return Interrupted(f"the server said nothing for {seconds:g} s", code)

    def delay_after(self, failure: grpc.RpcError) -> float:
        """Return how many seconds to wait before the next call; raise the FactstrError when there is none."""
        self.is_open = False
        if self._attempts is None:
            self._attempts = self.attempts()
        return self._attempts.delay_after(failure)

    def not_taken(self, refusal: Exception) -> NoReturn:
        """Raise what it means that the channel took no call."""
        (self._attempts or self.attempts()).not_taken(refusal)

    def attempts(self) -> Attempts:
        """Return the attempts of a call that belongs to the stream: as lasting as the stream itself."""
        if not self._has_begun:
            return self.ordinary_attempts()
        return LastingAttempts(self._retries, self._timeout, self._give_up_after, self._interrupted)

    def ordinary_attempts(self) -> Attempts:
        """Return the attempts that any other call has."""
        return Attempts(self._retries, self._timeout, Effect.NONE, self.ended_leases)

    def _interrupted(self, error: FactstrError) -> None:
        if not self._is_interrupted and get_ident() == self._reader:
            self._is_interrupted = True
            self._tell(error)

    def _goes_on(self) -> None:
        if self._is_interrupted:
            self._is_interrupted = False
            self._tell(None)

    def _tell(self, error: FactstrError | None) -> None:
        if self._on_interruption is not None:
            self._on_interruption(error)
