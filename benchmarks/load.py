"""Load: callers that call again as soon as they are answered, and what they saw."""

import asyncio
import gc
from array import array
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter, process_time
from typing import NamedTuple, Protocol

Call = Callable[[int], Awaitable[object]]
"""Makes one call to the end; the number is the caller's."""
Work = Callable[[float, "array[float]"], Coroutine[None, None, None]]
"""Calls until a time, and notes how long each call took."""


class Busy(Protocol):
    """What works while it is loaded: a server's process, or several."""

    def cpu_seconds(self) -> float:
        """What it has used so far."""


class Sample(NamedTuple):
    """One variant in one round."""

    latencies: "array[float]"
    """Of every call, in seconds."""
    seconds: float
    server_cpu_seconds: float
    load_cpu_seconds: float
    """Of this process, which plays the clients."""

    @property
    def calls(self) -> int:
        return len(self.latencies)

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds


async def many_at_once(server: Busy, callers: int, seconds: float, call: Call) -> Sample:
    """As many calls as `callers` make in a time, each one after the answer to its last one."""

    async def caller(number: int, end: float, latencies: "array[float]") -> None:
        now = perf_counter()
        while now < end:
            await call(number)
            then = perf_counter()
            latencies.append(then - now)
            now = then

    return await at_once(server, [partial(caller, number) for number in range(callers)], seconds)


async def at_once(server: Busy, works: Iterable[Work], seconds: float) -> Sample:
    """What several do in a time, and until what they have begun is answered."""
    latencies = array("d")
    with _undisturbed():
        cpu, own_cpu = server.cpu_seconds(), process_time()
        begin = perf_counter()
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work(begin + seconds, latencies))
        seconds, own_cpu = perf_counter() - begin, process_time() - own_cpu
        return Sample(latencies, seconds, server.cpu_seconds() - cpu, own_cpu)


async def one_by_one(server: Busy, count: int, call: Call) -> Sample:
    """A number of calls, one after the other."""
    latencies = array("d")
    with _undisturbed():
        cpu, own_cpu = server.cpu_seconds(), process_time()
        begin = now = perf_counter()
        for number in range(count):
            await call(number)
            then = perf_counter()
            latencies.append(then - now)
            now = then
        own_cpu = process_time() - own_cpu
        return Sample(latencies, now - begin, server.cpu_seconds() - cpu, own_cpu)


async def messages(call: AsyncIterable[bytes]) -> list[bytes]:
    """All of a streaming call's messages."""
    return [message async for message in call]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The load process collects its garbage between rounds, not in them."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
