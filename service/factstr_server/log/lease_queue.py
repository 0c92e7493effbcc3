"""Those on this server who want a lease: a queue for each durable stream, first come first served.

States of a place: new -> waiting (its owner has met another holder) -> left, with the lease or without. Beside that it
is told or not: something has happened since its owner last asked the store, so that the lease may be free.

Invariants:
- Of those who wait only the first of a queue is told, and asks the store: nobody is overtaken. Who is new asks once, to
  learn who holds the lease. When the queue ends, all are told, and nobody asks any more.
- What was told is forgotten just before the store is asked: no release in between is missed.
- Whoever leaves has the next one told: perhaps it was told itself, and did not take the lease.
- There is no queue without a place.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from factstr_server.contract.errors import Refusal


class LeaseQueue:
    """One for a log. Used by one event loop."""

    def __init__(self) -> None:
        self._places: dict[str, dict[Place, None]] = {}
        """By the durable stream's name, in order."""
        self.ended: Callable[[], Refusal] | None = None

    @contextmanager
    def place(self, name: str) -> Iterator["Place"]:
        """The last one, until the block ends."""
        places = self._places.setdefault(name, {})
        place = Place(self, name)
        places[place] = None
        try:
            yield place
        finally:
            del places[place]
            if places:
                self.tell_next(name)
            else:
                del self._places[name]

    def is_first(self, name: str, place: "Place") -> bool:
        return next(iter(self._places[name])) is place

    def waiting(self, name: str) -> int:
        """How many wait."""
        return sum(place.waits for place in self._places.get(name, ()))

    def tell_next(self, name: str) -> None:
        """The lease may be free."""
        for place in self._places.get(name, ()):
            place.tell()
            return

    def tell_next_of_all(self) -> None:
        """Any lease may be free."""
        for name in self._places:
            self.tell_next(name)

    def end(self, why: Callable[[], Refusal]) -> None:
        """Ends all waiting, for a reason."""
        self.ended = why
        for places in self._places.values():
            for place in places:
                place.tell()


class Place:
    """Used by one task, except for `tell`."""

    def __init__(self, queue: LeaseQueue, name: str) -> None:
        self._queue = queue
        self._name = name
        self._told = asyncio.Event()
        self.waits = False

    @property
    def may_ask(self) -> bool:
        """Whether its owner may ask the store for the lease now."""
        return not self.waits or self._told.is_set() or self._queue.is_first(self._name, self)

    def asks(self) -> None:
        """Its owner asks right after this."""
        self._told.clear()

    def tell(self) -> None:
        self._told.set()

    async def told(self, due: float) -> None:
        """Returns when it is told, at the latest at the loop's time `due`. Raises Refusal when the queue has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._told.wait()
        if self._queue.ended:
            raise self._queue.ended()
