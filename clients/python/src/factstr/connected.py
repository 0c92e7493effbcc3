"""Owns knowing when a channel has a connection, and ending that before the channel."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

import grpc

_LONGEST_LOOK: Final = 1.0
"""Seconds that gRPC's thread may take to notice that nobody asks any more: 0.2, and what a busy machine adds."""


def when_connected(channel: grpc.Channel, tell: Callable[[], None]) -> Callable[[], None]:
    """Call `tell` once there is a connection, in a thread of gRPC's; return what is to be called to forget about it.

    It makes no connection: the call that waits for one does. gRPC asks for the state every 0.2 s until then.
    """

    def look(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            forget()
            tell()

    def forget() -> None:
        channel.unsubscribe(look)

    channel.subscribe(look)
    return forget


def close(channel: grpc.Channel) -> None:
    """Close a channel whose state nobody asks for any more, once gRPC's thread for it has ended.

    `channel.close` waits for a look that is under way, but one that begins just then raises in that thread, and Python
    prints it (grpc/grpc#18995). Only gRPC itself knows of its thread; where it does not say, the channel is closed at
    once.
    """
    latest = monotonic() + _LONGEST_LOOK
    looking = getattr(channel, "_connectivity_state", None)
    # Never for one that another part of the program has subscribed to: its thread does not end.
    while (
        getattr(looking, "polling", False)
        and not getattr(looking, "callbacks_and_connectivities", True)
        and monotonic() < latest
    ):
        sleep(0.005)
    channel.close()
