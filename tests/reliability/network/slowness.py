"""Subscribers that get a few bytes at a time: they hold up nobody, and get all that is theirs in the end."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

from tests.conformance.driver import Driver, NewFact
from tests.conformance.streams import Batch, Stream
from tests.reliability.network.link import FREE, Link, Way, Ways
from tests.reliability.network.served import served, stopped
from tests.reliability.part import Figures
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote
from tests.stores.opened import url_of

BOUND_SECONDS: Final = 5.0
"""For an append and for its delivery to others. A slow subscriber would need many times that for one batch."""

_SLOW: Final = 4
_NARROW: Final = Way(latency=0.05, piece=50)
"""A kilobyte in a second."""
_OTHERS: Final = 2
_APPENDS: Final = 30
_PAYLOAD: Final = f'"{"x" * 500_000}"'
"""In all more than windows and sockets hold, so that the server has to wait for the slow ones."""


async def slow_subscribers(folder: Path, chance: Random) -> Figures:
    async with AsyncExitStack() as stack:
        [server] = await served(stack, [url_of(folder / "facts.db")], folder)
        link = await stack.enter_async_context(Link.to(server.address(), chance))
        direct, *others = [
            await stack.enter_async_context(Remote(server.address())) for _ in range(1 + _OTHERS)
        ]
        slow = [await _slow_stream(stack, link, number) for number in range(_SLOW)]
        for stream in slow:
            await stream.started()
        link.meets(Ways(FREE, _NARROW))
        fast = [await stack.enter_async_context(other.stream_all()) for other in others]
        for stream in fast:
            await stream.started()
        appended: dict[int, float] = {}
        took, *delays = await asyncio.gather(
            _append(direct, appended), *(_delays(stream, appended) for stream in fast)
        )
        longest = max(took, *delays)
        assert longest <= BOUND_SECONDS, f"appends took {took:.1f} s, their delivery {max(delays):.1f} s"
        await link.mend()
        log = await whole_log(direct)
        for number, stream in enumerate(slow):
            assert await _all_of(stream, direct, _name(number)) == log
        await stopped(server)
    return {
        "slow subscribers": _SLOW,
        "longest wait of others beside them, seconds": round(longest, 2),
    }


def _name(number: int) -> str:
    """Of the slow ones every other is durable."""
    return f"slow {number}" if number % 2 else ""


async def _slow_stream(stack: AsyncExitStack, link: Link, number: int) -> Stream:
    """Over a connection of its own."""
    store = await stack.enter_async_context(Remote(link.address))
    name = _name(number)
    return await stack.enter_async_context(store.stream_all_durable(name) if name else store.stream_all())


async def _all_of(stream: Stream, store: Driver, name: str) -> list[Batch]:
    batches = []
    for _ in range(_APPENDS):
        batch = await stream.next_of(Batch)
        batches.append(batch._replace(token=""))
        if name:
            assert await store.acknowledge(name, batch.token) == batch.last
    return batches


async def _append(store: Driver, appended: dict[int, float]) -> float:
    """The longest that one took. Notes when each was begun."""
    longest = 0.0
    for number in range(1, _APPENDS + 1):
        appended[number] = time.monotonic()
        assert (await store.append([NewFact(payload=_PAYLOAD)])).last == number
        longest = max(longest, time.monotonic() - appended[number])
    return longest


async def _delays(stream: Stream, appended: dict[int, float]) -> float:
    longest = 0.0
    for number in range(1, _APPENDS + 1):
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                batch = await stream.next_of(Batch)
        except TimeoutError:
            raise AssertionError(f"slow subscribers held up another one for {BOUND_SECONDS} s") from None
        assert batch.last == number
        longest = max(longest, time.monotonic() - appended[number])
    return longest
