"""Which failures a load bears, by what is done to its server."""

from typing import Final

from tests.sharing.writing import Excused

SILENCE: Final = "SILENCE"
"""The reason of a stream that said nothing for too long, as its reader tells it."""

SERVER_DIES: Final = Excused(
    frozenset({"STORE_UNAVAILABLE", "SERVER_BUSY", "SERVER_DRAINING"}),
    # The connection was lost, or there was none.
    frozenset({"APPEND_OUTCOME_UNKNOWN", ""}),
)
"""A server that ends at any moment and comes back, with or without a store that does so too."""

STORE_FAILS: Final = Excused(
    # LogStore promises it of STORE_CORRUPT too.
    SERVER_DIES.nothing_happened | {"STORE_FULL", "STORE_CORRUPT"},
    SERVER_DIES.unknown,
)
"""A store whose disk fails, and perhaps its server with it. What cannot be read is corrupt to SQLite."""

STORE_HAS_DEFECTS: Final = Excused(STORE_FAILS.nothing_happened, STORE_FAILS.unknown | {"INTERNAL"})
"""One that also fails in ways that no store should."""

NETWORK_FAILS: Final = Excused(SERVER_DIES.nothing_happened, SERVER_DIES.unknown | {SILENCE})
"""A connection that may also be dead without a sign."""
