"""A store before another one: any call may be refused, take its time, or be done although its answer is lost.

What it raises says only what is true: that nothing was committed only where nothing was. Defects, which are exceptions
of any other kind, may come from anywhere.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from factstr_server.contract.errors import (
    StoreDisconnected,
    change_outcome_unknown,
    outcome_unknown,
    store_corrupt,
    store_full,
    store_unavailable,
)
from factstr_server.stores.protocol import Store
from factstr_server.stores.stream_protocol import Acquired, AcquireOutcome, Acquisition
from tests.service.wrapping_store import WrappingStore

_LONGEST_DELAY_SECONDS: Final = 0.05

Failing: TypeAlias = Callable[[], Exception]


def _unavailable() -> Exception:
    return store_unavailable("as asked")


def _defect() -> Exception:
    return ZeroDivisionError("a defect of the store")


_REFUSALS: Final[tuple[Failing, ...]] = (
    _unavailable,
    lambda: StoreDisconnected("as asked"),
    lambda: store_corrupt("as asked"),
    _defect,
)


class Mishap(StrEnum):
    """What happens to a call; named for the figures."""

    FULL = "calls of a store refused for want of room"
    REFUSED = "calls of a store refused"
    DELAYED = "calls of a store delayed"
    LOST = "answers of a store lost"


class Times(NamedTuple):
    """What may happen while they last."""

    mishaps: tuple[Mishap, ...]
    one_in: int
    calls: Collection[str] | None = None
    """None: to any."""
    seconds: float = 0.8
    """At most."""


TIMES: Final = tuple(
    Times(mishaps, one_in, calls)
    for mishaps in ((Mishap.FULL, Mishap.DELAYED), (Mishap.REFUSED,), (Mishap.LOST,), tuple(Mishap))
    for one_in in (20, 3, 1)
    for calls in (("commit",), None)
)


def _faulty(name: str, in_doubt: Failing = _unavailable) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The store's method of that name. `in_doubt` is what a lost answer means, if it means anything."""

    async def method(self: "FaultyStore", *arguments: Any, **named: Any) -> Any:
        return await self.meet(name, partial(getattr(self.inner, name), *arguments, **named), in_doubt)

    return method


class FaultyStore(WrappingStore):
    """Harmless, but for its times."""

    def __init__(self, inner: Store, counts: Counter[str], chance: Random) -> None:
        super().__init__(inner)
        self.times: Times | None = None
        self._counts = counts
        self._chance = chance

    commit = _faulty("commit", outcome_unknown)
    head = _faulty("head")
    read_context = _faulty("read_context")
    read_facts = _faulty("read_facts")
    read_batches = _faulty("read_batches")
    sequence_number_at = _faulty("sequence_number_at")
    release = _faulty("release")
    get = _faulty("get")
    cursors = _faulty("cursors")
    list_from = _faulty("list_from")
    reset = _faulty("reset", change_outcome_unknown)
    delete = _faulty("delete", change_outcome_unknown)
    ages = _faulty("ages")

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        outcome: AcquireOutcome | None = None

        async def acquire() -> AcquireOutcome:
            nonlocal outcome
            outcome = await self.inner.acquire(acquisition)
            return outcome

        try:
            result: AcquireOutcome = await self.meet("acquire", acquire, _unavailable)
        except Exception:
            if isinstance(outcome, Acquired):
                # Who was not told of a lease does not have it.
                await self.inner.release(acquisition.durable_stream, outcome.lease_epoch)
            raise
        return result

    async def meet(self, name: str, call: Callable[[], Awaitable[Any]], in_doubt: Failing) -> Any:
        mishap = self._mishap(name)
        if mishap is Mishap.FULL:
            raise store_full()
        if mishap is Mishap.REFUSED:
            raise self._one_of(*_REFUSALS, in_doubt)
        if mishap is Mishap.DELAYED:
            await asyncio.sleep(self._chance.random() * _LONGEST_DELAY_SECONDS)
        answer = await call()
        if mishap is Mishap.LOST:
            raise self._one_of(in_doubt, _defect)
        return answer

    def _one_of(self, *failing: Failing) -> Exception:
        return self._chance.choice(failing)()

    def _mishap(self, name: str) -> Mishap | None:
        times = self.times
        if not times or (times.calls and name not in times.calls) or self._chance.randrange(times.one_in):
            return None
        mishap = self._chance.choice(times.mishaps)
        self._counts[mishap] += 1
        return mishap
