"""Calls whose headers have come and whose request has not.

gRPC reads a request of up to 16 MiB before its handler begins, cannot tell how much of it has come, and cannot be made
to give it up. So of a caller whose requests come too slowly no further calls are taken until they have come: what slow
requests hold is bounded.
"""

import asyncio
from contextvars import ContextVar
from itertools import islice
from typing import Final

SLOW_SECONDS: Final = 1.0
MAX_SLOW: Final = 32
"""Of one caller: requests that have been awaited for longer than that."""


_LEAST_LOOKED_THROUGH: Final = 64


class AwaitedRequests:
    """Of one caller. Used in one event loop; each call is the task that gRPC runs for it."""

    def __init__(self) -> None:
        self._since: dict[asyncio.Task[object], float] = {}
        """Oldest first. Some may have ended without a request."""
        self._looked_through_at = _LEAST_LOOKED_THROUGH

    def __len__(self) -> int:
        return len(self._since)

    @property
    def too_slow(self) -> bool:
        """Whether so many are slow that no further call is taken."""
        if not self._may_be_too_slow():
            return False
        self._forget_ended()
        return self._may_be_too_slow()

    def begin(self) -> None:
        """The headers of the call of this task have come."""
        if len(self._since) >= self._looked_through_at:
            self._forget_ended()
        task = asyncio.current_task()
        assert task, "gRPC runs a task for each call"
        self._since[task] = task.get_loop().time()
        _of_this_call.set(self)

    def came(self, task: "asyncio.Task[object]") -> None:
        """The request of the call of this task has come."""
        self._since.pop(task, None)

    def _may_be_too_slow(self) -> bool:
        if len(self._since) < MAX_SLOW:
            return False
        [since] = islice(self._since.values(), MAX_SLOW - 1, MAX_SLOW)
        return asyncio.get_running_loop().time() - since > SLOW_SECONDS

    def _forget_ended(self) -> None:
        """Now and then: a callback for the end of each call would cost every one of them more than this does."""
        self._since = {task: since for task, since in self._since.items() if not task.done()}
        self._looked_through_at = max(_LEAST_LOOKED_THROUGH, 2 * len(self._since))


_of_this_call: ContextVar[AwaitedRequests | None] = ContextVar("awaited_requests", default=None)


def request_came() -> None:
    """The request of the call of this task has come, if one was awaited."""
    task = asyncio.current_task()
    assert task, "gRPC runs a task for each call"
    if (awaited := _of_this_call.get()) is not None:
        awaited.came(task)
