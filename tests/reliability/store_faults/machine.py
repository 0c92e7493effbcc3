"""One address, and the servers that run there in this process, one after the other."""

import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from factstr_server.server import running
from factstr_server.settings import Settings
from factstr_server.stores.protocol import Store
from tests.sharing.servers import HEARTBEAT

UNAVAILABLE_WAIT: Final = timedelta(seconds=0.5)
"""So that calls are refused while a store is away, and do not only wait for it."""

_TAIL_BYTES: Final = 20_000
"""So little that streams read the store."""

_DRAIN: Final = timedelta(seconds=0.2)


class Machine:
    """Where a server runs, or none."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._server = AsyncExitStack()

    async def start(self, url: str, store: Store | None = None) -> None:
        """On the URL's store, or on one that stands before it. Returns when it serves. Raises StartupError."""
        settings = Settings(
            store=url,
            listen=(self.address,),
            heartbeat_interval=HEARTBEAT,
            unavailable_wait=UNAVAILABLE_WAIT,
            drain=_DRAIN,
        )
        server = await self._server.enter_async_context(running(settings, store))
        server.log._dispatcher.tail._max_bytes = _TAIL_BYTES

    async def stop(self) -> None:
        """Idempotent."""
        await self._server.aclose()
