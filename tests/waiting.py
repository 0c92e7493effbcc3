"""Waiting, for a bounded time, until something holds that has no event: looked at again and again."""

import asyncio
import time
from collections.abc import Callable


async def until(holds: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Lets the event loop go on meanwhile."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise _in_vain(what, seconds)
        await asyncio.sleep(0.005)


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Blocks the thread."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise _in_vain(what, seconds)
        time.sleep(0.005)


def _in_vain(what: str, seconds: float) -> TimeoutError:
    return TimeoutError(f"waited {seconds} s in vain until {what}")
