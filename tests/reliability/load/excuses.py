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

NETWORK_FAILS: Final = Excused(SERVER_DIES.nothing_happened, SERVER_DIES.unknown | {SILENCE})
"""A connection that may also be dead without a sign."""
