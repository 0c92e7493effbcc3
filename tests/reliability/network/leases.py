"""Leases whose holder is lost: how long until the next consumer has them, and what becomes of the lost one's late
acknowledgements.

All ways to be lost are tried at once, each on a durable stream of its own, because most take as long as a lease lasts.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.conformance.driver import Driver, Failure
from tests.conformance.streams import Started, Waiting
from tests.postgres.fresh import fresh_url
from tests.reliability.load.excuses import NETWORK_FAILS
from tests.reliability.network.link import BLOCKED, DEAD, Link, Ways
from tests.reliability.network.served import place_of, served, through
from tests.reliability.network.together import together
from tests.reliability.part import Figures, Trial
from tests.sharing.servers import Remote
from tests.sharing.writing import TRY_AGAIN_SECONDS
from tests.stores.opened import url_of

BOUND_SECONDS: Final = 20.0
"""A dead consumer's lease is free within that."""

NOTICED_SECONDS: Final = 5.0
"""Where the server is told of the consumer's end: no time but what a busy machine takes."""

_ARRIVES_SECONDS: Final = 15.0
"""For what was on its way. A server that has lost its database may be connecting to it just then."""


@dataclass(frozen=True)
class Loss:
    """A way in which a consumer is lost. It has a token in hand, and its acknowledgement comes too late."""

    name: str
    streams: Driver
    """How it consumes,"""
    calls: Driver
    """how it acknowledges,"""
    successor: Driver
    """and who comes after it."""
    lose: Callable[[], object]
    holds: Callable[[], object] = lambda: None
    """What it sends from now on is on its way, until it is found."""
    find: Callable[[], Awaitable[object]] | None = None
    """What is on its way arrives."""
    sends_at_once: bool = False
    """The acknowledgement is sent when it is lost, and not only when another one has the lease."""
    within: float = BOUND_SECONDS


async def moves(times: int, trial: Trial) -> Figures:
    figures: Figures = {"leases moved": 0, "late acknowledgements refused": 0}
    for number in range(times):
        found = await lost(trial.folder / f"leases-{number}", trial.chance("leases", number))
        figures["leases moved"] += len(found)
        figures["late acknowledgements refused"] += len(found)
        for way, seconds in found.items():
            name = f"longest move of a lease, {way}, seconds"
            figures[name] = max(figures.get(name, 0.0), round(seconds, 1))
        trial.say(f"network: leases moved in all ways, {number + 1} of {times} times")
    return figures


async def lost(folder: Path, chance: Random) -> dict[str, float]:
    """By store and way, how many seconds passed until the successor's stream had started."""
    stores = {"SQLite": lost_on_sqlite, "PostgreSQL": lost_on_postgres}
    for store in stores:
        (folder / store).mkdir(parents=True)
    found = await together(try_(folder / store, chance) for store, try_ in stores.items())
    return {
        f"{store}, {way}": seconds
        for store, moved_on in zip(stores, found, strict=True)
        for way, seconds in moved_on.items()
    }


async def lost_on_sqlite(folder: Path, chance: Random) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        [server] = await served(stack, [url_of(folder / "facts.db")], folder)
        address = server.address()
        successor = await stack.enter_async_context(Remote(address))

        async def loss(name: str, lose: Callable[[Link], object], *, told: bool = False) -> Loss:
            links = [await stack.enter_async_context(Link.to(address, chance)) for _ in range(2)]
            streams, calls = [await stack.enter_async_context(Remote(link.address)) for link in links]
            return Loss(
                name,
                streams,
                calls,
                successor,
                lose=lambda: lose(links[0]),
                holds=lambda: links[1].meets(DEAD),
                find=lambda: asyncio.gather(*(link.mend() for link in links)),
                sends_at_once=told,
                within=NOTICED_SECONDS if told else BOUND_SECONDS,
            )

        return await moved(
            [
                await loss("half-open", lambda link: link.meets(DEAD)),
                await loss("half-open towards the server", lambda link: link.meets(Ways(up=BLOCKED))),
                await loss("half-open towards the client", lambda link: link.meets(Ways(down=BLOCKED))),
                await loss("reset at the client's end", Link.cut_from_client),
                await loss("reset", Link.cut, told=True),
                await loss("ended", Link.end, told=True),
            ]
        )


async def lost_on_postgres(folder: Path, chance: Random) -> dict[str, float]:
    """Beside a consumer a server can be lost, or its way to the database."""
    url = fresh_url(folder)
    async with AsyncExitStack() as stack:
        below = await stack.enter_async_context(Link.to(place_of(url), chance))
        servers = await served(stack, [url, url, url, through(below, url)], folder)
        link = await stack.enter_async_context(Link.to(servers[0].address(), chance))
        addresses = [link.address, *(server.address() for server in servers)]
        half_open, near, successor, of_frozen, of_away = [
            await stack.enter_async_context(Remote(address)) for address in addresses
        ]
        frozen = servers[2]
        stack.callback(frozen.send, signal.SIGCONT)

        async def thaw() -> None:
            frozen.send(signal.SIGCONT)

        return await moved(
            [
                Loss("half-open", half_open, near, successor, lambda: link.meets(DEAD), find=link.mend),
                Loss(
                    "server frozen",
                    of_frozen,
                    of_frozen,
                    successor,
                    lose=lambda: frozen.send(signal.SIGSTOP),
                    find=thaw,
                    sends_at_once=True,
                ),
                Loss(
                    "server away from its database",
                    of_away,
                    of_away,
                    successor,
                    lose=lambda: below.meets(DEAD),
                    find=below.mend,
                    sends_at_once=True,
                ),
            ]
        )


async def moved(losses: Sequence[Loss]) -> dict[str, float]:
    for _ in range(3):
        await losses[0].successor.append_types("a", "b")
    seconds = await together(map(seconds_to_move, losses))
    return {loss.name: each for loss, each in zip(losses, seconds, strict=True)}


async def seconds_to_move(loss: Loss) -> float:
    async with AsyncExitStack() as stack:
        lost = await stack.enter_async_context(loss.streams.stream_all_durable(loss.name))
        held = await lost.started()
        token = (await lost.batches(3))[-1].token
        succeeding = await stack.enter_async_context(loss.successor.stream_all_durable(loss.name, wait=True))
        assert isinstance(await succeeding.next(), Waiting)
        began = time.monotonic()
        if loss.sends_at_once:
            loss.holds()
            late = asyncio.create_task(_acknowledge_late(loss, token))
        loss.lose()
        try:
            async with asyncio.timeout(loss.within):
                started = await succeeding.next_of(Started)
        except TimeoutError:
            raise AssertionError(
                f"{loss.name}: no other consumer had the lease within {loss.within} s"
            ) from None
        seconds = time.monotonic() - began
        assert started.lease_epoch > held.lease_epoch
        assert started.after == 0, (
            f"{loss.name}: nothing was acknowledged, but it began after {started.after}"
        )
        if not loss.sends_at_once:
            loss.holds()
            late = asyncio.create_task(_acknowledge_late(loss, token))
        first, second = await succeeding.batches(2)
        assert await loss.successor.acknowledge(loss.name, first.token) == first.last
        if loss.find:
            await loss.find()
        async with asyncio.timeout(_ARRIVES_SECONDS):
            await late
        assert (await loss.successor.durable(loss.name)).cursor == first.last
        told = await lost.ended()
        assert told.reason in ("", "DURABLE_STREAM_LEASE_LOST"), told
        assert await loss.successor.acknowledge(loss.name, second.token) == second.last
        return seconds


async def _acknowledge_late(loss: Loss, token: str) -> None:
    """Until it is known to be refused."""
    while True:
        try:
            cursor = await loss.calls.acknowledge(loss.name, token)
        except Failure as failure:
            if failure.reason == "DURABLE_STREAM_LEASE_LOST":
                return
            if not NETWORK_FAILS(failure):
                raise
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            raise AssertionError(f"{loss.name}: a late acknowledgement moved the cursor to {cursor}")
