"""Owns noticing that a stream was interrupted and goes on again, which it does by itself and in silence."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Final, Protocol

from factstr.cli.notes import Notes
from factstr.retry import Retries

_LOOK_EVERY: Final = 0.1


class _Stream(Protocol):
    @property
    def caught_up(self) -> int | None: ...
    @property
    def position(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Told(Retries):
    """The usual repetitions; tells of each before it waits."""

    on_delay: Callable[[], object] = lambda: None

    def delay(self, repetition: int) -> float:
        self.on_delay()
        # Without arguments super() does not find the class that slots have made.
        return Retries.delay(self, repetition)


class Interruptions:
    """Says once that a stream is interrupted, and once that it goes on.

    A stream that is being read says nothing of it. That it is interrupted shows in that the client wants to know how
    long to wait before it tries again; that it goes on, in its next batch, or in that it has caught up again.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._stream: _Stream | None = None
        self._lock = Lock()
        self._over = Event()
        self._over.set()
        self._position = 0

    def retries(self) -> Retries:
        """Return what the store is to be opened with."""
        return _Told(on_delay=self._interrupted)

    def watch(self, stream: _Stream) -> None:
        """Speak from now on: until a stream has begun, a failure is an error."""
        self._stream = stream

    def over(self) -> None:
        """Take note of a sign of life."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            self._notes.event(f"connected again; going on after {self._position:,}")

    def _interrupted(self) -> None:
        with self._lock:
            if self._stream is None or not self._over.is_set():
                return
            self._over.clear()
            self._position = self._stream.position
            self._notes.event("the connection is lost; trying again until it is back")
        if self._stream.caught_up is None:
            Thread(target=self._until_caught_up, args=(self._stream,), daemon=True).start()

    def _until_caught_up(self, stream: _Stream) -> None:
        # The reader itself hears nothing before the next batch, which may be long in coming.
        while not self._over.wait(_LOOK_EVERY):
            if stream.caught_up is not None:
                self.over()
