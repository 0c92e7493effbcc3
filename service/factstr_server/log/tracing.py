"""What the edge and the log tell of single calls, commits and deliveries, where somebody traces them.

`telemetry.tracing` fulfils it. Without it nothing is told, and costs nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol


class Tracing(Protocol):
    """Used in one event loop. Times in nanoseconds since 1970. An origin is a call that is traced."""

    def call(self, rpc: str, headers: Iterable[tuple[str, str | bytes]]) -> Callable[[int], None]:
        """A call begins in this task, with these headers; what it gives is called when it ends, with its status."""

    def origin(self) -> object | None:
        """The call under way in this task, where it is traced."""

    def committed(self, origin: object, first: int, last: int, *, group_size: int, began: int) -> None:
        """What the origin appended is durable now; its commit began then."""

    def delivered(self, ranges: Sequence[tuple[int, int]], began: int) -> None:
        """The call under way has sent batches, by first and last sequence number; it began to send them then."""
