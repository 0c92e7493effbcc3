"""Owns how an import is cut into appends, and the key that makes each safe to repeat.

A batch ends at a count of facts or of bytes; both are counted from the first fact of the file, so the same file with
the same limits is cut the same way, wherever an earlier run was interrupted. The key is the prefix and the place of
the batch's first fact. Whatever changes the cuts (another file, another limit) therefore meets a key that was used
for other facts, at the first batch that differs, and the server refuses it: nothing is ever stored twice in silence.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from factstr.event import Event

LONGEST_PREFIX: Final = 160
"""Characters; a key has at most 200, and the place takes up to 21."""

# Tag and length of an element in the request.
_FRAMING: Final = 5


@dataclass(slots=True)
class Batch:
    """Events of one append, the line of each, and how many facts of the file come before."""

    start: int
    events: list[Event] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def key(self, prefix: str) -> str:
        return f"{prefix}/{self.start}"


def batches(events: Iterable[tuple[int, Event]], *, most_events: int, most_bytes: int) -> Iterator[Batch]:
    """Return the events in batches. One that is larger than `most_bytes` alone goes alone."""
    batch, size = Batch(0), 0
    for line, event in events:
        own = event.to_proto().ByteSize() + _FRAMING
        if batch.events and (len(batch.events) == most_events or size + own > most_bytes):
            yield batch
            batch, size = Batch(batch.start + len(batch.events)), 0
        batch.events.append(event)
        batch.lines.append(line)
        size += own
    if batch.events:
        yield batch
