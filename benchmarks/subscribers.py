"""Many live streams at once, as their clients have them: when batches came, and whether they are the right ones."""

import asyncio
from contextlib import AsyncExitStack
from itertools import cycle
from time import perf_counter
from typing import Final

import grpc

from benchmarks.ledger import check
from benchmarks.stream_facts import digest_of_batch
from factstr.v1 import event_store_service_pb2 as pb

SETTLE_SECONDS: Final = 60

Stream = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
_Call = grpc.aio.UnaryStreamCall[bytes, bytes]
# Channels with the same options to the same address would share a connection.
_OWN_CONNECTION: Final = ("grpc.use_local_subchannel_pool", 1)
# A client's gRPC may give a stream more room than nobody reads from needs, some MiB instead of 64 KiB.
_FIXED_ROOM: Final = ("grpc.http2.bdp_probe", 0)


class _Subscriber:
    """One stream, and what it has brought."""

    def __init__(self) -> None:
        self.received: list[tuple[float, bytes]] = []
        """Messages that have not been looked at."""
        self.arrivals: list[tuple[int, float]] = []
        """The first sequence number of each batch, and when it came."""
        self.count = 0
        """Of the batches."""
        self.digest = 0
        self.last_arrival = 0.0

    def look_at_received(self) -> None:
        received, self.received = self.received, []
        for arrival, raw in received:
            for batch in pb.StreamResponse.FromString(raw).batches.batches:
                self.count += 1
                self.last_arrival = arrival
                self.arrivals.append((batch.first_sequence_number, arrival))
                self.digest = digest_of_batch(
                    self.digest,
                    batch.first_sequence_number,
                    batch.last_sequence_number,
                    [(record.sequence_number, record.payload) for record in batch.event_records],
                )


class Subscribers:
    """Streams of one server. `reading` of them read all the time, the others never after `started`."""

    def __init__(
        self,
        address: str,
        method: str,
        requests: list[bytes],
        *,
        connections: int,
        reading: bool = True,
        at_once: bool = False,
    ) -> None:
        """With `at_once` messages are looked at as they come, else when they are asked for: then looking at them
        delays no other.
        """
        self._address = address
        self._method = method
        self._requests = requests
        self._connections = connections
        self._reading = reading
        self._at_once = at_once
        self._subscribers = [_Subscriber() for _ in requests]
        self._stack = AsyncExitStack()
        self._calls: list[_Call] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        options = [_OWN_CONNECTION] if self._reading else [_OWN_CONNECTION, _FIXED_ROOM]
        channels = [
            await self._stack.enter_async_context(grpc.aio.insecure_channel(self._address, options=options))
            for _ in range(self._connections)
        ]
        streams: list[Stream] = [channel.unary_stream(self._method) for channel in channels]
        self._calls = [
            stream(request) for stream, request in zip(cycle(streams), self._requests, strict=False)
        ]
        for raw in await asyncio.gather(*(call.read() for call in self._calls)):
            check(isinstance(raw, bytes), "a stream ended before it began")
        if self._reading:
            self._tasks = [
                asyncio.create_task(self._read(subscriber, call))
                for subscriber, call in zip(self._subscribers, self._calls, strict=True)
            ]

    async def settled(self, expected: list[tuple[int, int]]) -> float:
        """Waits until every stream has brought its number of batches, and compares their digest. When the last batch
        of all came.
        """
        end = perf_counter() + SETTLE_SECONDS
        for number, (subscriber, (count, digest)) in enumerate(zip(self._subscribers, expected, strict=True)):
            while True:
                subscriber.look_at_received()
                if subscriber.count >= count or perf_counter() > end:
                    break
                self._check_streams()
                await asyncio.sleep(0.01)
            check(
                (subscriber.count, subscriber.digest) == (count, digest),
                f"stream {number} brought {subscriber.count} batches where {count} were committed, or other ones",
            )
        return max(subscriber.last_arrival for subscriber in self._subscribers)

    def latencies(self, since: dict[int, float]) -> tuple[list[float], list[float]]:
        """From the times by sequence number to the arrivals: of all streams, and of the last stream."""
        every: list[float] = []
        last = dict.fromkeys(since, 0.0)
        for subscriber in self._subscribers:
            for first, arrival in subscriber.arrivals:
                if first in since:
                    latency = arrival - since[first]
                    every.append(latency)
                    last[first] = max(last[first], latency)
            subscriber.arrivals.clear()
        return every, list(last.values())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _read(self, subscriber: _Subscriber, call: _Call) -> None:
        while isinstance(raw := await call.read(), bytes):
            subscriber.received.append((perf_counter(), raw))
            if self._at_once:
                subscriber.look_at_received()

    def _check_streams(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
                check(False, "a stream ended without a reason")
