"""Whether what a server holds is flat: bounds while it is under load, no growth in the long run, and what it must have
given back when the load has gone. Each criterion says why it is as wide as it is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from tests.reliability.endurance.bookkeeping import MIB, Row
from tests.reliability.endurance.mix import MOST_CONNECTIONS, MOST_OPEN_CALLS
from tests.reliability.endurance.sampling import Look

MAX_GROWTH_MIB: Final = 8.0
"""Of memory that nothing explains, from the first third of a load to the last: twice what allocators come and go by. In
a minute 6 KiB a stream are seen, in half an hour 100 bytes.
"""

BATCH_BYTES: Final = 700
"""What a small batch takes, all in all. The newest ones are kept within a bound of bytes, by which texts count."""

LOST_BYTES: Final = 272
"""That gRPC loses of a message whose sending fails because its call was reset meanwhile (grpc/grpc#43360). Most streams
of a load end so.
"""

BOUNDS: Final[Mapping[str, float]] = {
    # The page caches of one writer and four readers, which fill as the log grows, and a little for statements.
    "SQLite's MiB": 32 + 4 * 16 + 4,
    # A checkpoint follows the commit that makes it 1,000 pages of 4 KiB. It cannot begin anew before every reader has
    # gone on, and meanwhile some more groups are committed.
    "WAL MiB": 16,
    # One batch beyond the bound of the tail.
    "tail MiB": 32 + 3,
    "queued MiB": 8,
    "connections": 8,
    # Two of each connection (one writes, three threads and the event loop read when they first must, and one is kept),
    # shared memory, and two locks.
    "files of the store": 6 * 2 + 3,
    # Nothing waits for anything in a transaction, but the machine may be slow.
    "longest transaction s": 10,
    "servers": 1,
    # Four tables of a few rows, and their indexes: rows are replaced within their pages.
    "bookkeeping MiB": 1,
    "dead rows": 3_000,
}
"""At every moment of a load."""

_TASKS_OF_A_CALL: Final = 4
_SPARE_DESCRIPTORS: Final = 40
"""Of connections that the client has left, and of which its garbage collector has not heard."""

_OF_A_STORE: Final = ("connections", "files of the store")

_SPARE_THREADS: Final = 4
"""Pools start some when they are busy: gRPC's, and the one for large requests. They start each but once."""

_SPARE_OBJECTS: Final = 150
"""Of each type. Calls that have ended are let go of when others come: some dozens are always there."""

_OF_THE_LOG: Final = (
    "factstr_server.log.tail.TailBatch",
    "factstr_server.contract.append.EncodedEvent",
    *("builtins.dict", "builtins.list", "builtins.tuple"),
)
"""Of the newest facts, which are kept within a bound of bytes: there are more of them when they are small. What else
holds such containers is an object of another type.
"""


def grown(rows: Sequence[Row], before: Row) -> Iterator[str]:
    """Under load: what goes beyond a bound, or has grown."""
    limits = {
        **BOUNDS,
        "tasks": before["tasks"] + _TASKS_OF_A_CALL * MOST_OPEN_CALLS,
        "descriptors": before["descriptors"] + MOST_CONNECTIONS + _SPARE_DESCRIPTORS,
        "open calls": MOST_OPEN_CALLS,
    }
    for name, limit in limits.items():
        most = max((row for row in rows if name in row), key=lambda row: row[name], default=None)
        if most and most[name] > limit:
            yield f"{name}: {most[name]:g} after {most['seconds']:.0f} s, where at most {limit:g} may be"
    growth = growth_mib(rows)
    if growth > MAX_GROWTH_MIB:
        yield f"memory grew by {growth:.1f} MiB from the first to the last third, where {MAX_GROWTH_MIB} may be"


def growth_mib(rows: Sequence[Row]) -> float:
    """Of memory that nothing explains, from the median of the first third to that of the last."""
    unexplained = [*map(unexplained_mib, rows)]
    third = len(rows) // 3
    return median(unexplained[-third:]) - median(unexplained[:third])


def unexplained_mib(row: Row) -> float:
    """Memory beside what SQLite's caches and the newest facts take, which have bounds of their own, and gRPC's loss."""
    explained = row["tail batches"] * BATCH_BYTES + row["streams opened"] * LOST_BYTES
    return row["memory MiB"] - row["SQLite's MiB"] - explained / MIB


def kept(before: Look, after: Look) -> Iterator[str]:
    """What the server has not given back."""
    known, row = before.row, after.row
    most = {
        "tasks": known["tasks"],
        # Those of a store come and go within their bound.
        "descriptors": known["descriptors"]
        + sum(row.get(name, 0) - known.get(name, 0) for name in _OF_A_STORE),
        "threads": known["threads"] + _SPARE_THREADS,
        **dict.fromkeys(("open calls", "locks", "leases", "idle in transaction"), 0),
    }
    for name, limit in most.items():
        if row.get(name, 0) > limit:
            yield f"{name}: {row[name]:g} without a call, where {limit:g} may be"
    more = Counter(after.kinds)
    more.subtract(before.kinds)
    for kind, number in more.most_common():
        if number > _SPARE_OBJECTS and kind not in _OF_THE_LOG:
            limit = before.kinds.get(kind, 0) + _SPARE_OBJECTS
            yield f"objects: {after.kinds[kind]} of {kind} without a call, where {limit} may be"
