"""Owns knowing when a channel has a connection."""

from collections.abc import Callable

import grpc


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
