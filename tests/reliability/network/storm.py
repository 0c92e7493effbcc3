"""A storm: links that fail at random, each in one way after another, until it is over."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, NamedTuple, Protocol

from tests.reliability.network.link import BLOCKED, DEAD, FREE, Link, Way, Ways
from tests.reliability.network.together import together

_SECONDS: Final = 2.0
_LONG_SECONDS: Final = 15.0


class Weather(NamedTuple):
    """How many faults a storm has, and how long one lasts at most."""

    faults: int
    longest: float


def weather_of(storm: int, faults: int) -> Weather:
    """Of one storm of several: every third one has faults that outlast what anybody waits for."""
    return Weather(faults, _LONG_SECONDS if storm % 3 == 2 else _SECONDS)


class Breakable(Protocol):
    """What a storm breaks."""

    async def fail(self, chance: Random, seconds: float) -> str:
        """Fails in some way for at most so long, and works again. Gives the way."""

    async def mend(self) -> None:
        """Works again, whatever it was doing; nothing of before arrives after that."""


class Storm:
    """Over several links at once, one fault after the other on each."""

    def __init__(self, links: Sequence[Breakable], weather: Weather, chance: Random) -> None:
        self.faults: Counter[str] = Counter()
        self._weather = weather
        # Each with draws of its own, so that they do not depend on who fails first.
        self._links = [(link, Random(chance.random())) for link in links]

    async def over(self) -> None:
        """Begins it, and returns when all faults have been, and everything works again."""
        await together(self._break(number, *each) for number, each in enumerate(self._links))
        for link, _ in self._links:
            await link.mend()

    async def _break(self, number: int, link: Breakable, chance: Random) -> None:
        for _ in range(number, self._weather.faults, len(self._links)):
            await asyncio.sleep(chance.expovariate(4))
            self.faults[await link.fail(chance, self._weather.longest * chance.random() ** 2)] += 1


_Fault = Callable[[Link, Random, float], Awaitable[None]]


class Stormy:
    """A link in a storm."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def fail(self, chance: Random, seconds: float) -> str:
        kind = chance.choice(list(_FAULTS))
        await _FAULTS[kind](self._link, chance, seconds)
        return kind

    async def mend(self) -> None:
        await self._link.mend(thaw=False)


async def _cut(link: Link, chance: Random, seconds: float) -> None:
    link.cut()


async def _cut_one_end(link: Link, chance: Random, seconds: float) -> None:
    """The other end is told nothing."""
    chance.choice((link.cut_from_client, link.cut_from_server))()


async def _end(link: Link, chance: Random, seconds: float) -> None:
    link.end()


async def _dead(link: Link, chance: Random, seconds: float) -> None:
    """In both directions, or in one; new connections too, or not."""
    ways = chance.choice((DEAD, Ways(up=BLOCKED), Ways(down=BLOCKED)))
    link.meets(ways, new=chance.random() < 0.5)
    await asyncio.sleep(seconds)
    await link.mend(thaw=chance.random() < 0.7)


async def _one_dead(link: Link, chance: Random, seconds: float) -> None:
    """Others through the same link go on."""
    for connection in chance.sample(link.connections, min(1, len(link.connections))):
        connection.meets(DEAD)
    await asyncio.sleep(seconds)
    await link.mend(thaw=chance.random() < 0.7)


async def _late(link: Link, chance: Random, seconds: float) -> None:
    slow = Way(latency=0.1 * chance.random(), jitter=0.2 * chance.random())
    link.meets(chance.choice((Ways(slow, slow), Ways(up=slow), Ways(down=slow))))
    await asyncio.sleep(seconds)
    await link.mend()


async def _narrow(link: Link, chance: Random, seconds: float) -> None:
    """A few bytes at a time."""
    narrow = Way(latency=0.005, piece=chance.randint(1, 100))
    link.meets(chance.choice((Ways(narrow, narrow), Ways(narrow, FREE), Ways(FREE, narrow))))
    await asyncio.sleep(seconds)
    await link.mend()


async def _refuse(link: Link, chance: Random, seconds: float) -> None:
    link.refuse()
    link.cut()
    await asyncio.sleep(seconds)
    await link.mend()


async def _swallow(link: Link, chance: Random, seconds: float) -> None:
    link.swallows = True
    link.cut()
    await asyncio.sleep(seconds)
    await link.mend(thaw=False)


_FAULTS: Final[dict[str, _Fault]] = {
    "connections reset": _cut,
    "connections reset at one end": _cut_one_end,
    "connections ended": _end,
    "links half-open": _dead,
    "connections half-open": _one_dead,
    "delays": _late,
    "throttled links": _narrow,
    "refused connections": _refuse,
    "swallowed connections": _swallow,
}
