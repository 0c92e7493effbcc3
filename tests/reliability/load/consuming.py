"""A durable stream, consumed by several who come, go and are interrupted; and what its cursor may have been.

Everything that is known of one name stands in one place, so that it can be held to the laws whoever saw it, and however
late the network has told it:
- a lease has a higher epoch than all that were seen before it was asked for;
- its cursor is not behind what was acknowledged under earlier leases, nor past a batch that nobody had acknowledged;
- what is delivered is what follows the cursor, without gap or repeat, as long as one lease lasts;
- once a lease has been seen, no acknowledgement that begins after that with the token of an earlier one succeeds.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.conformance.driver import Driver, Failure
from tests.conformance.streams import Batch, Started, Stream
from tests.reliability.load.following import SILENCE_SECONDS, said
from tests.sharing.accounts import Selection, is_the_end
from tests.sharing.writing import TRY_AGAIN_SECONDS, Excused

_OTHERS_HOLD_IT = ("DURABLE_STREAM_ACTIVE", "DURABLE_STREAM_LEASE_LOST")


@dataclass
class Lease:
    """One consumer's turn."""

    epoch: int
    cursor: int
    batches: list[Batch] = field(default_factory=list)
    sent: int = 0
    """Up to here an acknowledgement was sent."""
    answered: int = 0
    """Up to here one was answered."""


class Consumption:
    """One name, and all who consume it. They may run concurrently in one event loop."""

    def __init__(
        self,
        name: str,
        selection: Selection,
        excused: Excused,
        chance: Random,
        *,
        silence: float = SILENCE_SECONDS,
        leaving: float = 0.02,
    ) -> None:
        self.name = name
        self.leases: list[Lease] = []
        self.refused = 0
        """Acknowledgements whose lease was over."""
        self._selection = selection
        self._excused = excused
        self._chance = chance
        self._silence = silence
        self._leaving = leaving
        self._ended = asyncio.Event()

    async def consume(self, consumers: Sequence[Sequence[Driver]]) -> None:
        """Until somebody has acknowledged the log's end. Each consumer has servers of its own."""
        tasks = [asyncio.create_task(self._consumer(stores)) for stores in consumers]
        ended = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait((*tasks, ended), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, ended):
                task.cancel()
            await asyncio.gather(*tasks, ended, return_exceptions=True)

    async def _consumer(self, stores: Sequence[Driver]) -> None:
        while not self._ended.is_set():
            wait, window = self._chance.random() < 0.7, self._chance.choice((3, 50, 1_000))
            known = self.newest_epoch
            stream = self._chance.choice(stores).stream_to_durable(
                self.name, self._selection.query, wait=wait, window=window
            )
            try:
                async with stream:
                    await self._read(stream, stores, window, known)
            except Failure as failure:
                if failure.reason not in _OTHERS_HOLD_IT and not self._excused(failure):
                    raise
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _read(self, stream: Stream, stores: Sequence[Driver], window: int, known: int) -> None:
        """One turn, asked for when an epoch was known; it may end at any batch, as a consumer fails."""
        lease: Lease | None = None
        unacknowledged = 0
        while not self._ended.is_set():
            item = await said(stream, self._silence)
            if isinstance(item, Started):
                assert item.lease_epoch > known, f"{self.name}: {item} after epoch {known}"
                lease = Lease(item.lease_epoch, item.after)
                self.leases.append(lease)
            elif isinstance(item, Batch):
                assert lease
                assert item.first > (lease.batches[-1].last if lease.batches else lease.cursor), item
                lease.batches.append(item)
                unacknowledged += 1
                # Of a full window something must be acknowledged, or nothing more comes.
                if unacknowledged == window or self._chance.random() < 0.3 or is_the_end(item):
                    await self._acknowledge(lease, item, stores)
                    unacknowledged = 0
                if self._chance.random() < self._leaving:
                    return

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def answered(self) -> int:
        """Up to here somebody has acknowledged."""
        return max((lease.answered for lease in self.leases), default=0)

    @property
    def newest_epoch(self) -> int:
        """That anybody has seen."""
        return max((lease.epoch for lease in self.leases), default=0)

    async def _acknowledge(self, lease: Lease, batch: Batch, stores: Sequence[Driver]) -> None:
        over = lease.epoch < self.newest_epoch
        lease.sent = max(lease.sent, batch.last)
        try:
            cursor = await self._chance.choice(stores).acknowledge(self.name, batch.token)
        except Failure as failure:
            if failure.reason == "DURABLE_STREAM_LEASE_LOST":
                self.refused += 1
            raise
        assert not over, (
            f"{self.name}: epoch {lease.epoch} acknowledged {batch.last} after {self.newest_epoch}"
        )
        assert cursor >= batch.last
        lease.answered = max(lease.answered, batch.last)
        if is_the_end(batch):
            self._ended.set()

    def check(self, log: Sequence[Batch]) -> None:
        """All leases, once the log is known."""
        parts = self._selection.of(log, 0)
        lasts = [batch.last for batch in parts]
        sent = answered = epoch = 0
        for lease in sorted(self.leases, key=lambda lease: lease.epoch):
            assert lease.epoch > epoch, f"{self.name}: two leases have the epoch {epoch}"
            assert lease.cursor >= answered, (
                f"{self.name}: {lease} begins before {answered}, acknowledged before"
            )
            # Cursors stand at ends of batches, so that no part is cut.
            due = bisect_right(lasts, lease.cursor)
            delivered = [batch._replace(token="") for batch in lease.batches]
            assert delivered == parts[due : due + len(delivered)], f"{self.name}, {lease}"
            unacknowledged = parts[bisect_right(lasts, sent) :][:1]
            assert not unacknowledged or lease.cursor < unacknowledged[0].first, (
                f"{self.name}: cursor {lease.cursor} is past {unacknowledged[0].shape}, "
                f"of which nothing after {sent} was acknowledged"
            )
            sent, answered = max(sent, lease.sent), max(answered, lease.answered)
            epoch = lease.epoch
