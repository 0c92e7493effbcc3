"""Load: callers that call again as soon as they are answered, and what they saw."""

import asyncio
import gc
from array import array
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from benchmarks.processes import ServerProcess

Call = Callable[[int], Awaitable[object]]
"""Makes one call to the end; the number is the caller's."""


class Sample(NamedTuple):
    """One variant in one round."""

    latencies: "array[float]"
    """Of every call, in seconds."""
    seconds: float
    server_cpu_seconds: float

    @property
    def calls(self) -> int:
        return len(self.latencies)

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds


async def many_at_once(server: ServerProcess, callers: int, seconds: float, call: Call) -> Sample:
    """As many calls as `callers` make in a time, each one after the answer to its last one."""
    latencies = array("d")

    async def caller(number: int) -> None:
        now = perf_counter()
        while now < end:
            await call(number)
            then = perf_counter()
            latencies.append(then - now)
            now = then

    with _undisturbed():
        cpu = server.cpu_seconds()
        begin = perf_counter()
        end = begin + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(number))
        return Sample(latencies, perf_counter() - begin, server.cpu_seconds() - cpu)


async def one_by_one(server: ServerProcess, count: int, call: Call) -> Sample:
    """A number of calls, one after the other."""
    latencies = array("d")
    with _undisturbed():
        cpu = server.cpu_seconds()
        begin = now = perf_counter()
        for number in range(count):
            await call(number)
            then = perf_counter()
            latencies.append(then - now)
            now = then
        return Sample(latencies, now - begin, server.cpu_seconds() - cpu)


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
