"""The dispatcher: where the log ends for this server's streams, and which of them a new batch wakes.

A stream at the head is parked: it costs nothing until a batch may match it. Its query stands in one index of terms, and
its position is the dispatcher's, so that one number moves all parked streams.

Invariants (everything here happens in one event loop, without a pause inside a method):
- `position` is the end of a batch that is durable, and never goes back but when the log does (`restart_at`). The tail
  holds the batches up to it.
- A parked stream has nothing to deliver at or before `position`. Before a batch that may match it counts as passed, the
  stream is woken and stands before that batch.
- A term under which streams stand knows which facts of the tail hold it, from when its first stream came: a stream that
  reads the tail looks at those alone.
- Streams check `position` and park in one step, so that no batch slips in between.
- Batches come in order; one that is not the next one, or a head beyond `position`, means that batches are missing here:
  then the tail begins anew and every parked stream wakes and reads them from the store.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from time import perf_counter
from typing import Final

from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.terms import OVERFLOW
from factstr_server.log.tail import Tail, TailBatch
from factstr_server.stores.protocol import BatchPage, BatchWindow

_STREAMS_AT_A_TIME: Final = 8
"""Filtered streams that go on before others get their turn of the loop."""


class Seat:
    """A stream's place at the head. Used by its stream and by the dispatcher, in one event loop."""

    def __init__(self, query: CompiledQuery, keys: Collection[str]) -> None:
        self.query = query
        self.keys = keys
        """Under which terms the query stands: every fact that it matches holds one of them."""
        self.position = 0
        """Where the stream stands while it is not parked."""
        self._waking: asyncio.Future[None] | None = None

    @property
    def parked(self) -> bool:
        return self._waking is not None

    def park(self) -> asyncio.Future[None]:
        """What the stream then awaits."""
        self._waking = asyncio.get_running_loop().create_future()
        return self._waking

    def wake(self, position: int) -> None:
        """Ends the parking, with the stream at a position; does nothing to a stream that is not parked."""
        if waking := self.unpark(position):
            _go_on(waking)

    def unpark(self, position: int) -> "asyncio.Future[None] | None":
        """As `wake`, but the stream goes on when the result, if any, is set."""
        waking, self._waking = self._waking, None
        if waking:
            self.position = max(self.position, position)
        return waking


def _go_on(waking: "asyncio.Future[None]") -> None:
    if not waking.done():
        waking.set_result(None)


class _Term:
    """A term under which seats stand."""

    def __init__(self, since: int) -> None:
        self.seats: set[Seat] = set()
        self.since = since
        self.holders: list[int] = []
        """The facts after `since` that hold it and are in the tail, in order."""

    def holders_in(self, window: BatchWindow) -> list[int]:
        return self.holders[
            bisect_right(self.holders, window.after) : bisect_right(self.holders, window.up_to)
        ]


class Dispatcher:
    """One for a log."""

    def __init__(self, tail: Tail | None = None) -> None:
        self.tail = tail or Tail()
        self.position = 0
        self.on_moved: Callable[[], None] = lambda: None
        """Called whenever `position` has moved."""
        self.appends_wait: Callable[[], bool] = lambda: False
        """Whether appends are under way, which share the loop with the streams."""
        self._everything: set[Seat] = set()
        self._by_term: dict[str, _Term] = {}
        self._waking: deque[asyncio.Future[None]] = deque()
        """Of filtered streams that are no longer parked, and have not gone on yet."""

    def begin_at(self, position: int) -> None:
        """Before the first stream."""
        self.position = position
        self.tail.begin_after(position)

    @property
    def streams(self) -> bool:
        """Whether there are any."""
        return bool(self._everything or self._by_term)

    def restart_at(self, head: int) -> None:
        """The log has lost its end, and what was read of it is void: every stream has ended."""
        self.position = head
        self.tail.begin_after(head)
        for term in self._by_term.values():
            term.holders.clear()
            term.since = head
        self.on_moved()

    def take_seat(self, query: CompiledQuery) -> Seat:
        """Indexes a query, for as long as its stream runs."""
        seat = Seat(query, () if query.everything else self._keys(query))
        if query.everything:
            self._everything.add(seat)
        for key in seat.keys:
            if key not in self._by_term:
                self._by_term[key] = _Term(self.position)
            self._by_term[key].seats.add(seat)
        return seat

    def leave_seat(self, seat: Seat) -> None:
        self._everything.discard(seat)
        for key in seat.keys:
            term = self._by_term[key]
            term.seats.discard(seat)
            if not term.seats:
                del self._by_term[key]

    def read_tail(self, seat: Seat, window: BatchWindow) -> BatchPage | None:
        """One page of a seat's batches; None where the store must be asked."""
        terms = [self._by_term[key] for key in seat.keys]
        if seat.query.everything or any(window.after < term.since for term in terms):
            return self.tail.read(seat.query, window)
        holders = [found for term in terms if (found := term.holders_in(window))]
        candidates = holders[0] if len(holders) == 1 else sorted(set().union(*holders))
        return self.tail.read(seat.query, window, candidates)

    def committed(self, batches: Sequence[TailBatch]) -> None:
        """Takes the batches of a group, in order, and wakes the streams that may have to deliver one of them."""
        new = [batch for batch in batches if batch.first > self.position]
        if not new:
            return
        if new[0].first != self.position + 1:
            self.move_to(new[0].first - 1)
        woken = dict.fromkeys((seat for seat in self._everything if seat.parked), self.position)
        begins_after = self.tail.begins_after
        for batch in new:
            self.tail.append(batch)
            self._find_matching(batch, woken)
        if self.tail.begins_after > begins_after:
            self._forget_holders()
        self.position = new[-1].last
        idle = not self._waking
        for seat, position in woken.items():
            if seat.query.everything:
                seat.wake(position)
            elif waking := seat.unpark(position):
                self._waking.append(waking)
        if idle:
            self._wake_some()
        self.on_moved()

    def _wake_some(self) -> None:
        """Filtered streams go on a few at a time, in the order in which they were woken."""
        for _ in range(min(_STREAMS_AT_A_TIME, len(self._waking))):
            _go_on(self._waking.popleft())
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_more, perf_counter())

    def _wake_more(self, since: float) -> None:
        """Called when those that were woken have gone on. While appends are under way they get as much time as that
        took, so that neither can take more than half of the loop; streams that come later find more to deliver in one
        message.
        """
        if self.appends_wait():
            asyncio.get_running_loop().call_later(perf_counter() - since, self._wake_some)
        else:
            self._wake_some()

    def move_to(self, head: int) -> None:
        """The store's log ends there, and what lies between has not come by here: whoever wants it reads it there."""
        if head <= self.position:
            return
        parked_at, self.position = self.position, head
        self.tail.begin_after(head)
        self._forget_holders()
        for seats in (self._everything, *(term.seats for term in self._by_term.values())):
            for seat in seats:
                seat.wake(parked_at)
        self.on_moved()

    def _find_matching(self, batch: TailBatch, woken: dict[Seat, int]) -> None:
        """Adds the parked streams whose query the terms of one of the batch's facts allow, and where they stand."""
        if not self._by_term:
            return
        for number, event in enumerate(batch.events, batch.first):
            for key in self._by_term.keys() & event.terms.split():
                term = self._by_term[key]
                term.holders.append(number)
                for seat in term.seats:
                    if (
                        seat.parked
                        and seat not in woken
                        and seat.query.may_match(event.event_type, event.terms)
                    ):
                        woken[seat] = batch.first - 1

    def _forget_holders(self) -> None:
        """Those that the tail holds no more."""
        for term in self._by_term.values():
            del term.holders[: bisect_right(term.holders, self.tail.begins_after)]

    def _keys(self, query: CompiledQuery) -> set[str]:
        """Of every alternative the terms that the fewest streams stand under, so that what many queries have in common
        does not make them neighbours.
        """
        keys: set[str] = set()
        for wanted in query.terms:
            types = wanted.event_types
            if wanted.predicates is None:
                keys.update(types or ())
                continue
            rarest = [min(terms, key=self._streams_under) for terms in wanted.predicates]
            if types is not None and self._most_streams(types) < self._most_streams(rarest):
                keys.update(types)
            else:
                keys.update(rarest, (OVERFLOW,))
        return keys

    def _streams_under(self, term: str) -> int:
        return len(self._by_term[term].seats) if term in self._by_term else 0

    def _most_streams(self, terms: Iterable[str]) -> int:
        return max(map(self._streams_under, terms), default=0)
