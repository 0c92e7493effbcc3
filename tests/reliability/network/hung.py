"""A server that hangs in a commit, or is cut off from PostgreSQL in it: others wait for the log for a bounded time."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import psycopg

from factstr_server.stores.postgres.location import location_of
from tests.conformance.driver import Driver, Failure, NewFact
from tests.conformance.streams import eventually
from tests.postgres.fresh import fresh_url
from tests.reliability.load.excuses import NETWORK_FAILS
from tests.reliability.network.link import BLOCKED, DEAD, Link, Way, Ways
from tests.reliability.network.served import place_of, served, through
from tests.reliability.network.together import together
from tests.reliability.part import Figures
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote
from tests.sharing.writing import TRY_AGAIN_SECONDS

BOUND_SECONDS: Final = 20.0
"""A commit that hangs for ten is ended by whoever has waited for it in vain, for two; the rest is the machine's."""

_LARGE: Final = [NewFact(payload=f'"{"x" * 60_000}"')] * 45
_SLOW: Final = Ways(up=Way(latency=0.1, piece=16_000))
"""It takes longer to send them than a busy machine needs to see that they are being sent."""


async def hung_commits(folder: Path, chance: Random) -> Figures:
    """In both ways at once, each on a schema of its own."""
    ways = ("frozen", "cut off")
    for way in ways:
        (folder / way).mkdir()
    found = await together(_hung(way, folder / way, chance) for way in ways)
    return {
        f"longest wait for the commit of a server that is {way}, seconds": round(seconds, 1)
        for way, seconds in zip(ways, found, strict=True)
    }


async def _hung(way: str, folder: Path, chance: Random) -> float:
    url = fresh_url(folder)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link.to(place_of(url), chance))
        servers = await served(stack, [through(link, url), url], folder)
        stack.callback(servers[0].send, signal.SIGCONT)
        hangs, waits = [await stack.enter_async_context(Remote(server.address())) for server in servers]
        for store in (hangs, waits, hangs):
            await store.append_types("before", "before")
        link.meets(_SLOW)
        large = asyncio.create_task(_append(hangs, _LARGE, "large"))
        await eventually(lambda: asyncio.to_thread(_is_locked, url), bool)
        if way == "frozen":
            # What it has sent already may be all of it.
            link.meets(Ways(up=BLOCKED))
            servers[0].send(signal.SIGSTOP)
        else:
            link.meets(DEAD)
        began = time.monotonic()
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                await _append(waits, [NewFact("meanwhile")], "meanwhile")
        except TimeoutError:
            raise AssertionError(
                f"nobody could append for {BOUND_SECONDS} s after a server was {way}"
            ) from None
        seconds = time.monotonic() - began
        servers[0].send(signal.SIGCONT)
        await link.mend()
        await large
        log = await whole_log(waits)
        assert [len(batch.facts) for batch in log] == [2, 2, 2, 1, len(_LARGE)]
        assert await whole_log(hangs) == log
    return seconds


def _is_locked(url: str) -> bool:
    """Whether a server has the head row."""
    location = location_of(url)
    with psycopg.connect(location.conninfo, autocommit=True) as connection:
        return bool(
            connection.execute(
                "SELECT FROM pg_locks WHERE relation = %s::regclass AND mode = 'RowShareLock' AND granted",
                (f"{location.schema}.head",),
            ).fetchall()
        )


async def _append(store: Driver, facts: list[NewFact], key: str) -> None:
    """Until it is known to be committed."""
    while True:
        try:
            await store.append(facts, key=key)
            return
        except Failure as failure:
            if not NETWORK_FAILS(failure):
                raise
            await asyncio.sleep(TRY_AGAIN_SECONDS)
