"""The load on servers whose links fail: those that clients reach them by, and theirs to PostgreSQL."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

from tests.conformance.driver import Driver
from tests.postgres.fresh import fresh_url
from tests.reliability.load.excuses import NETWORK_FAILS
from tests.reliability.load.workload import Workload
from tests.reliability.network.calling import Caller
from tests.reliability.network.link import Link
from tests.reliability.network.served import place_of, served, stopped, through
from tests.reliability.network.storm import Storm, Stormy, Weather, weather_of
from tests.reliability.part import Trial
from tests.sharing.servers import Remote
from tests.stores.opened import url_of

CLIENTS: Final = 6
"""Each with a link of its own."""

SILENCE_SECONDS: Final = 4.0
"""After which a reader leaves. Four heartbeats."""


async def storms(count: int, faults: int, trial: Trial) -> Counter[str]:
    """So many on each store, each with so many faults, on a log of its own."""
    figures: Counter[str] = Counter()
    for number in range(count):
        for store, storm in (("SQLite", storm_on_sqlite), ("PostgreSQL", storm_on_postgres)):
            folder = trial.folder / f"storm-{number}-{store}"
            folder.mkdir()
            figures += await storm(weather_of(number, faults), folder, trial.chance("storm", store, number))
        trial.say(f"network: {number + 1} of {count} storms on each store")
    return figures


async def storm_on_sqlite(weather: Weather, folder: Path, chance: Random) -> Counter[str]:
    async with AsyncExitStack() as stack:
        [server] = await served(stack, [url_of(folder / "facts.db")], folder)
        address = server.address()
        links = [await stack.enter_async_context(Link.to(address, chance)) for _ in range(CLIENTS)]
        direct = await stack.enter_async_context(Remote(address))
        storm = Storm([*map(Stormy, links)], weather, chance)
        figures = await weathered([link.address for link in links], storm, [direct], chance)
        await stopped(server)
    return figures


async def storm_on_postgres(weather: Weather, folder: Path, chance: Random) -> Counter[str]:
    """Two servers, each with a link of its own to the database, and clients of both."""
    url = fresh_url(folder)
    async with AsyncExitStack() as stack:
        below = [await stack.enter_async_context(Link.to(place_of(url), chance)) for _ in range(2)]
        servers = await served(stack, [through(link, url) for link in below], folder)
        addresses = [server.address() for server in servers]
        links = [
            await stack.enter_async_context(Link.to(addresses[client % 2], chance))
            for client in range(CLIENTS)
        ]
        directs = [await stack.enter_async_context(Remote(address)) for address in addresses]
        storm = Storm([*map(Stormy, links + below)], weather, chance)
        figures = await weathered([link.address for link in links], storm, directs, chance)
        for server in servers:
            await stopped(server)
    return figures


async def weathered(
    addresses: Sequence[str], storm: Storm, directs: Sequence[Driver], chance: Random
) -> Counter[str]:
    """The load of clients, one at each address, during a storm; and the verdict without any."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Caller(address)) for address in addresses]
        work = Workload(clients, NETWORK_FAILS, chance, silence=SILENCE_SECONDS)
        stack.push_async_callback(work.abandon)
        work.begin()
        await work.made(10)
        await storm.over()
        # What a server was given before these is committed before them, or never: nothing follows the end.
        await work.load.made(3)
        await work.end()
        log = await work.verdict(directs[0])
        for direct in directs[1:]:
            assert await work.verdict(direct) == log
    figures = Counter(work.figures())
    figures["live streams resumed"] = figures.pop("live streams opened") - len(work.followers)
    return storm.faults + figures + Counter({"storms": 1, "histories checked": 1})
