"""Calls whose headers have come and whose request has not: what they may hold, and for how long.

gRPC reads a request of up to 16 MiB before its handler begins, and of what has come so far nobody can tell. So calls
that wait for long are few, and none waits for ever.
"""

import asyncio
from typing import Final

LONGEST_SECONDS: Final = 30.0
"""For a whole request."""

_SLOW_SECONDS: Final = 1.0
MAX_SLOW: Final = 64
"""Calls that have waited for so long; of more, the oldest end."""

_LOOK_SECONDS: Final = 0.5


class AwaitedRequests:
    """Used in one event loop. Each call is the task that gRPC runs for it."""

    def __init__(self) -> None:
        self._since: dict[asyncio.Task[object], float] = {}
        """Oldest first."""

    def begin(self) -> None:
        """The headers of the call of this task have come."""
        task = asyncio.current_task()
        assert task, "gRPC runs a task for each call"
        self._since[task] = task.get_loop().time()
        # It may end without a request.
        task.add_done_callback(self._gone)

    def came(self) -> None:
        """The request of the call of this task has come."""
        task = asyncio.current_task()
        assert task, "gRPC runs a task for each call"
        self._gone(task)

    def _gone(self, task: asyncio.Task[object]) -> None:
        self._since.pop(task, None)

    async def end_slow_ones(self) -> None:
        """Again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            slow = [(task, since) for task, since in self._since.items() if now - since > _SLOW_SECONDS]
            for place, (task, since) in enumerate(slow):
                if place < len(slow) - MAX_SLOW or now - since > LONGEST_SECONDS:
                    task.cancel()
