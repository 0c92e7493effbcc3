"""A durable stream, consumed by several who come, go and are interrupted; and what its cursor may have been.

Everything that is known of one name stands in one place, so that it can be held to the laws whoever saw it:
- a lease that begins has a higher epoch than all that were seen before;
- its cursor is not behind an acknowledgement that was answered, nor past a batch that nobody had acknowledged;
- what is delivered is what follows the cursor, without gap or repeat, as long as one lease lasts;
- once a lease has been seen, no acknowledgement that begins after that with the token of an earlier one succeeds.
"""

import asyncio
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
    sent: int
    """Up to here somebody had sent an acknowledgement when it began."""
    batches: list[Batch] = field(default_factory=list)


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
        self._answered = 0
        self._sent = 0
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
            stream = self._chance.choice(stores).stream_to_durable(
                self.name, self._selection.query, wait=wait, window=window
            )
            try:
                async with stream:
                    await self._read(stream, stores, window)
            except Failure as failure:
                if failure.reason not in _OTHERS_HOLD_IT and not self._excused(failure):
                    raise
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _read(self, stream: Stream, stores: Sequence[Driver], window: int) -> None:
        """One turn; it may end at any batch, as a consumer fails."""
        lease: Lease | None = None
        unacknowledged = 0
        while not self._ended.is_set():
            item = await said(stream, self._silence)
            if isinstance(item, Started):
                lease = self._begun(item)
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

    def _begun(self, started: Started) -> Lease:
        newest = self.newest_epoch
        assert started.lease_epoch > newest, f"{self.name}: {started} after epoch {newest}"
        assert started.after >= self._answered, (
            f"{self.name}: {started} after {self._answered} was acknowledged"
        )
        self.leases.append(Lease(started.lease_epoch, started.after, self._sent))
        return self.leases[-1]

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def newest_epoch(self) -> int:
        """That anybody has seen."""
        return self.leases[-1].epoch if self.leases else 0

    async def _acknowledge(self, lease: Lease, batch: Batch, stores: Sequence[Driver]) -> None:
        over = lease.epoch < self.newest_epoch
        self._sent = max(self._sent, batch.last)
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
        self._answered = max(self._answered, batch.last)
        if is_the_end(batch):
            self._ended.set()

    def check(self, log: Sequence[Batch]) -> None:
        """All leases, once the log is known."""
        for lease in self.leases:
            due = self._selection.of(log, lease.cursor)
            delivered = [batch._replace(token="") for batch in lease.batches]
            assert delivered == due[: len(delivered)], f"{self.name}, {lease}"
            unacknowledged = self._selection.of(log, lease.sent)
            assert not unacknowledged or lease.cursor < unacknowledged[0].first, (
                f"{self.name}: cursor {lease.cursor} is past {unacknowledged[0].shape}, "
                f"of which nothing after {lease.sent} was acknowledged"
            )
