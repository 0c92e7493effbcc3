"""Owns saying that a stream is interrupted and that it goes on again, which it does by itself."""

from typing import Any

from factstr.cli.notes import Notes
from factstr.errors import FactstrError
from factstr.following import StreamState


class Interruptions:
    """Says once that a stream is interrupted, and once that it goes on."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.stream: StreamState[Any] | None = None
        """Set once the stream has begun; before that, a failure is an error."""

    def tell(self, error: FactstrError | None) -> None:
        """Be the stream's `on_interruption`."""
        if error is not None:
            self._notes.event("the connection is lost; trying again until it is back")
        elif self.stream is not None:
            self._notes.event(f"connected again; going on after {self.stream.position:,}")
