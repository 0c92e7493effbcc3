"""Waiting, for a bounded time, until something holds."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Looks again and again."""
    end = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < end, f"waited {seconds} s in vain until {what}"
        await asyncio.sleep(0.01)
