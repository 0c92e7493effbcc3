"""A durable consumer: a subscription under a lease, with a window of batches that were delivered and not acknowledged.

Invariants:
- Tokens exist only for batches that were returned by `next` under this lease.
- `cursor` is where the stream may stand: before the first unacknowledged batch, or, when there is none, as far as the
  subscription has come. So facts that do not match are passed as soon as everything before them is acknowledged.
- At most `max_batches` batches are unacknowledged, and beyond the first of them at most `MAX_UNACKNOWLEDGED_BYTES`.
- After `end` nothing is delivered; `cursor` stands still except for acknowledgements that come in.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from factstr_server.contract.acknowledgement import TokenMint
from factstr_server.contract.batch_frame import with_token
from factstr_server.contract.errors import Refusal
from factstr_server.contract.limits import MAX_APPEND_BYTES, MAX_EVENTS_PER_APPEND, MAX_UNACKNOWLEDGED_BYTES
from factstr_server.log.subscription import Batches, Idle, Step, Subscription
from factstr_server.stores.stream_protocol import Acquired

_LARGEST_FRAME_BYTES: Final = MAX_APPEND_BYTES + MAX_EVENTS_PER_APPEND * 32 + 1024
"""No frame is larger: 25 bytes of record and a length beside each `NewEvent`."""


class _Delivered(NamedTuple):
    """A batch that is not acknowledged."""

    before: int
    """Everything up to it is in no delivered batch from this one on."""
    last: int
    size: int


class DurableConsumer:
    """Used by one task, except for `acknowledged`, `end` and the properties."""

    def __init__(
        self, subscription: Subscription, lease: Acquired, mint: TokenMint, max_batches: int
    ) -> None:
        self.subscription = subscription
        self.lease_epoch = lease.lease_epoch
        self.stored_cursor = lease.cursor
        """What the store is known to hold."""
        self._mint = mint
        self._max_batches = max_batches
        self._delivered: deque[_Delivered] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()
        subscription.on_end = self._moved.set

    @property
    def cursor(self) -> int:
        return self._delivered[0].before if self._delivered else self.subscription.position

    @property
    def ended(self) -> bool:
        return self.subscription.ended

    def end(self, why: Refusal) -> None:
        self.subscription.end(why)

    def acknowledged(self, cursor: int) -> None:
        """The store's cursor stands there now."""
        self.stored_cursor = max(self.stored_cursor, cursor)
        while self._delivered and self._delivered[0].last <= cursor:
            self._bytes -= self._delivered.popleft().size
        self._moved.set()

    async def next(self, due: float) -> Step:
        """As `Subscription.next`, with tokens, and within the window. Raises Refusal."""
        while self._full and not self.ended:
            if not await self._moved_until(due):
                return Idle(self.subscription.position)
        position = self.subscription.position
        step = await self.subscription.next(due, max_batches=self._max_batches - len(self._delivered))
        return self._delivering(step, position) if isinstance(step, Batches) else step

    async def settled(self, due: float) -> None:
        """Waits until everything delivered is acknowledged, or until the loop's time `due`."""
        while self._delivered and await self._moved_until(due):
            pass

    @property
    def _full(self) -> bool:
        if not self._delivered:
            return False
        beyond_first = self._bytes - self._delivered[0].size
        return (
            len(self._delivered) >= self._max_batches
            or beyond_first + _LARGEST_FRAME_BYTES > MAX_UNACKNOWLEDGED_BYTES
        )

    def _delivering(self, batches: Batches, position: int) -> Batches:
        """The batches with tokens. Called in the step in which the subscription went past them: in between, `cursor`
        would pass over batches that nobody has seen.
        """
        frames = []
        for frame, (first, last) in zip(*batches, strict=True):
            self._delivered.append(_Delivered(max(position, first - 1), last, len(frame)))
            self._bytes += len(frame)
            frames.append(with_token(frame, self._mint.token(self.lease_epoch, last)))
        return Batches(frames, batches.ranges)

    async def _moved_until(self, due: float) -> bool:
        """Waits for an acknowledgement or the end; False when `due` came first."""
        self._moved.clear()
        try:
            async with asyncio.timeout_at(due):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True
