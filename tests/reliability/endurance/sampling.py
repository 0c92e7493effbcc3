"""What a server under load holds, sampled again and again."""

import asyncio
import csv
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzzing.watching import Watched, until_quiet
from tests.prometheus.scraping import samples
from tests.reliability.endurance.bookkeeping import MIB, Bookkeeping, Row

STREAMS: Final = ("AppendStream", "Query", "StreamAll", "StreamTo", "StreamToDurable")
"""Calls that are streams."""

_SAID_APART_SECONDS: Final = 10.0


class Look(NamedTuple):
    """What there was at one moment."""

    row: Row
    calls: Mapping[str, int]
    """That had begun since the server's start, by RPC."""
    kinds: Mapping[str, int]
    """Objects by type."""


class Sampler:
    """Of one server."""

    def __init__(self, watched: Watched, bookkeeping: Bookkeeping, say: Callable[[str], None]) -> None:
        self.rows: list[Row] = []
        self._watched = watched
        self._bookkeeping = bookkeeping
        self._say = say

    @asynccontextmanager
    async def sampling(self, apart: float) -> AsyncIterator[None]:
        """For the length of a block."""
        sampling = asyncio.create_task(self._sample(apart))
        try:
            yield
        finally:
            sampling.cancel()
            await asyncio.wait((sampling,))
        if not sampling.cancelled():
            sampling.result()

    async def _sample(self, apart: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        due = 0.0
        while True:
            seconds = loop.time() - begun
            look = await self.look()
            self.rows.append({"seconds": seconds} | look.row)
            if seconds >= due:
                self._say(f"{seconds:.0f} s, {look.row['calls']:.0f} calls, {look.row['memory MiB']:.0f} MiB")
                due = seconds + _SAID_APART_SECONDS
            await asyncio.sleep(apart - (loop.time() - begun) % apart)

    async def look(self) -> Look:
        """One at a time."""
        held = await self._watched.held_now()
        metrics = await samples(self._watched.process.metrics_address())
        values = {sample.name: sample.value for sample in metrics if not sample.labels}
        calls = {
            sample.labels["grpc_method"]: int(sample.value)
            for sample in metrics
            if sample.name == "grpc_server_started_total"
        }
        begun = sum(calls.values())
        ended = sum(sample.value for sample in metrics if sample.name == "grpc_server_handled_total")
        row = {
            "memory MiB": held.memory_kib / 1024,
            "SQLite's MiB": held.sqlite_kib / 1024,
            "objects": held.objects,
            "tasks": held.tasks,
            "threads": held.threads,
            "descriptors": held.files,
            "calls": begun,
            "open calls": begun - ended,
            "streams opened": sum(calls[name] for name in STREAMS),
            "facts": values["factstr_head_sequence_number"],
            "tail batches": values["factstr_tail_batches"],
            "tail MiB": values["factstr_tail_bytes"] / MIB,
            "queued MiB": values["factstr_queued_append_bytes"] / MIB,
        }
        return Look(row | await self._bookkeeping.look(), calls, held.kinds)

    async def quiet(self) -> Look:
        """Once every call that has begun has ended. What a server does by itself now and then is not there at every
        moment: the busiest of some looks counts.
        """
        await until_quiet(self._watched.process.metrics_address())
        looks = [await self.look() for _ in range(4)]
        return max(looks, key=lambda look: look.row["tasks"])


def write_samples(rows: Sequence[Row], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def read_samples(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as source:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(source)]
