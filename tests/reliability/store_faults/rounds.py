"""Rounds of trouble under load, and what must hold after each: everything that was told is true, and the server serves
again by itself.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from time import monotonic
from typing import Final, NamedTuple, TypeAlias

from tests.conformance.streams import Batch
from tests.reliability.crash.mortal import Returning
from tests.reliability.load.workload import Workload
from tests.reliability.part import Figures
from tests.sharing.writing import Excused

OF_A_LOG: Final = 10
"""Then a new one begins, so that looking at it stays cheap."""

SERVES_AGAIN_SECONDS: Final = 10.0

Trouble: TypeAlias = Callable[[Workload], Awaitable[None]]
"""Makes some, and ends it."""

Look: TypeAlias = Callable[[], Sequence[Batch]]
"""At the log, past the server."""


class Tally:
    """What was tried, of all kinds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.longest_recovery = 0.0

    def figures(self) -> Figures:
        return {**self.counts, "longest recovery, seconds": round(self.longest_recovery, 2)}


class Subject(NamedTuple):
    """One log, whose servers are at these addresses."""

    kind: str
    addresses: Sequence[str]
    excused: Excused
    look: Look | None = None


async def try_rounds(subject: Subject, count: int, trouble: Trouble, tally: Tally, chance: Random) -> None:
    kind, addresses, excused, look = subject
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Returning(address)) for address in addresses]
        work = Workload(stores, excused, chance)
        stack.push_async_callback(work.abandon)
        work.begin()
        for _ in range(count):
            await work.made(chance.randint(1, 30))
            await trouble(work)
            await _serves_again(work, tally)
            if look:
                work.check_history(look())
            tally.counts["retries after trouble, answered as at first"] += await work.repeat_keys(1)
        await work.end()
        log = await work.verdict(stores[0])
        assert not look or look() == log
    tally.counts.update({f"rounds, {kind}": count, **work.figures()})
    tally.counts["calls refused, with nothing committed"] += work.load.unavailable


async def _serves_again(work: Workload, tally: Tally) -> None:
    began = monotonic()
    await work.made(1)
    took = monotonic() - began
    assert took < SERVES_AGAIN_SECONDS, f"it took {took:.1f} s until the server served again"
    tally.longest_recovery = max(tally.longest_recovery, took)
