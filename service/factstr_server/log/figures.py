"""What a log has done since it was opened, in plain numbers, for whoever watches it."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from factstr_server.stores.protocol import Advanced, Committed, Conflict, KeyReused, Outcome, Repeated

_SECONDS_BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_SIZE_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


class Histogram:
    """How often values were at most each of some bounds, and above the last."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = _SECONDS_BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class CommitFigures:
    """Of the committer's groups."""

    def __init__(self) -> None:
        self.appends = self.events = self.repeats = self.conflicts = self.keys_reused = self.cursors_moved = 0
        """Counted when they are durable."""
        self.failed_groups = 0
        """Groups that the store did not take, or cannot tell of."""
        self.group_size = Histogram(_SIZE_BOUNDS)
        """Appends and moved cursors that one commit gathers."""
        self.seconds = Histogram()
        """From the group's hand-over to the store until it is durable."""

    def committed(self, outcomes: Iterable[Outcome], size: int, seconds: float) -> None:
        self.group_size.add(size)
        self.seconds.add(seconds)
        for outcome in outcomes:
            if isinstance(outcome, Committed):
                self.appends += 1
                self.events += outcome.last_sequence_number - outcome.first_sequence_number + 1
            elif isinstance(outcome, Advanced):
                self.cursors_moved += 1
            elif isinstance(outcome, Conflict):
                self.conflicts += 1
            elif isinstance(outcome, Repeated):
                self.repeats += 1
            elif isinstance(outcome, KeyReused):
                self.keys_reused += 1


class LogFigures(NamedTuple):
    """Of this moment."""

    head: int
    """As far as this server's streams have heard."""
    queued_appends: int
    queued_bytes: int
    tail_batches: int
    tail_bytes: int
    commits: CommitFigures
