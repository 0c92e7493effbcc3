"""A client's way to a server over a network that fails: calls have deadlines, and dead connections are noticed."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.reliability.crash.mortal import Returning

DEADLINE_SECONDS: Final = 2.0

_STREAMS: Final = ("StreamAll", "StreamTo", "StreamAllDurable", "StreamToDurable")
"""What has no deadline. Whoever reads one leaves it when it is silent for too long."""


class Caller(Returning):
    """One client."""

    channel_options = (
        *Returning.channel_options,
        # Also for how long one attempt to connect is waited for; more than a slow link takes.
        ("grpc.min_reconnect_backoff_ms", 1_500),
        # Not more often than the server allows.
        ("grpc.keepalive_time_ms", 6_000),
        ("grpc.keepalive_timeout_ms", 2_000),
        ("grpc.http2.ping_timeout_ms", 2_000),
    )

    def __init__(self, address: str, seconds: float = DEADLINE_SECONDS) -> None:
        super().__init__(address)
        self._seconds = seconds

    async def start(self) -> None:
        await super().start()
        for name in ("_events", "_durable", "_about"):
            setattr(self, name, _Hurried(getattr(self, name), self._seconds))


class _Hurried:
    """A stub whose calls end within so many seconds."""

    def __init__(self, stub: object, seconds: float) -> None:
        self._stub = stub
        self._seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._stub, name)
        return method if name in _STREAMS else partial(method, timeout=self._seconds)
