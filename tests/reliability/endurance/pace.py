"""How fast a load goes: so many turns a second, whatever the machine could do."""

import asyncio
from typing import Literal


class Pace(asyncio.Event):
    """Set all the time, but those who wait for it get through one after the other, at most so often a second."""

    def __init__(self, turns_per_second: float) -> None:
        super().__init__()
        self.set()
        self._apart = 1 / turns_per_second
        self._next = 0.0

    async def wait(self) -> Literal[True]:
        now = asyncio.get_running_loop().time()
        # What a machine was too slow for is not made up for.
        self._next = max(self._next + self._apart, now)
        await asyncio.sleep(self._next - now)
        return True
