"""FACTSTR's own Python client, as a program uses it: from one thread, in a process of its own.

Started by `benchmarks.workers`. Events are made before they are needed, as UmaDB's are; to encode them is the client's
work. What came is kept while it is timed, and compared afterwards.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter, process_time
from typing import Final

import grpc

import factstr
import factstr.aio
from benchmarks.commanded import Answer, obey
from benchmarks.connection import STREAM_ALL
from benchmarks.facts import Fact, fact_source, prepared_facts
from benchmarks.ledger import check
from factstr.v1 import event_store_service_pb2 as pb

_EVERYTHING: Final = pb.StreamAllRequest(after_sequence_number=0).SerializeToString()


class _Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._cpu, self._begin = process_time(), perf_counter()

    def read(self) -> Answer:
        return {"seconds": perf_counter() - self._begin, "cpu_seconds": process_time() - self._cpu}


class Client:
    """What one process does with one store."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._store = factstr.connect(address)
        source = fact_source()
        self._fact = source.fact
        self._events = [_event(source.fact(number)) for number in range(prepared_facts(1))]
        self._numbers = count()
        self.commands: dict[str, Callable[..., Answer]] = {
            "append": self.append,
            "pipeline": self.pipeline,
            "pipeline_aio": self.pipeline_aio,
            "parse": self.parse,
            "stream": self.stream,
        }

    def append(self, *, seconds: float) -> Answer:
        """One event after the other, each after the answer to the last one."""
        results = []
        clock, end = _Clock(), perf_counter() + seconds
        while perf_counter() < end:
            results.append(self._store.append(self._next()))
        return self._acknowledged(clock.read(), results)

    def pipeline(self, *, seconds: float) -> Answer:
        """Puts events into an appender for a time, and waits until all are answered."""
        pending = []
        clock, end = _Clock(), perf_counter() + seconds
        with self._store.appender() as appender:
            while perf_counter() < end:
                pending.append(appender.append(self._next()))
        return self._acknowledged(clock.read(), [each.result() for each in pending])

    def pipeline_aio(self, *, seconds: float) -> Answer:
        """The same in asyncio."""

        async def run() -> Answer:
            async with factstr.aio.connect(self._address) as store:
                await store.server_info()  # connected before the clock runs
                pending = []
                clock, end = _Clock(), perf_counter() + seconds
                async with store.appender() as appender:
                    while perf_counter() < end:
                        pending.append(await appender.append(self._next()))
                return self._acknowledged(clock.read(), [await each for each in pending])

        return asyncio.run(run())

    def stream(self, *, facts: int) -> Answer:
        """The first facts of the log as `EventRecord`s, each looked at."""
        records: list[factstr.EventRecord] = []
        clock = _Clock()
        with self._store.stream_all(after=0) as stream:
            for batch in stream:
                for record in batch.event_records:
                    record.sequence_number, record.event_type, record.payload_text  # noqa: B018
                records.extend(batch.event_records)
                if len(records) >= facts:
                    break
            answer = clock.read()
        self._check([(each.sequence_number, each.event_type, each.payload_text) for each in records], facts)
        return answer

    def parse(self, *, facts: int) -> Answer:
        """The same facts by the same kind of call without the client: messages parsed, each fact looked at."""
        messages: list[pb.StreamResponse] = []
        count = 0
        with grpc.insecure_channel(self._address) as channel:
            stream: grpc.UnaryStreamMultiCallable[bytes, pb.StreamResponse] = channel.unary_stream(
                STREAM_ALL, response_deserializer=pb.StreamResponse.FromString
            )
            grpc.channel_ready_future(channel).result()  # as the store's is, before the clock runs
            clock = _Clock()
            call = stream(_EVERYTHING)
            for message in call:
                for batch in message.batches.batches:
                    for record in batch.event_records:
                        record.sequence_number, record.event_type, record.payload  # noqa: B018
                    count += len(batch.event_records)
                messages.append(message)
                if count >= facts:
                    break
            answer = clock.read()
            call.cancel()
        records = [
            record
            for message in messages
            for batch in message.batches.batches
            for record in batch.event_records
        ]
        self._check([(each.sequence_number, each.event_type, each.payload) for each in records], facts)
        return answer

    def _next(self) -> factstr.Event:
        return self._events[next(self._numbers) % len(self._events)]

    def _acknowledged(self, answer: Answer, results: Sequence[factstr.AppendResult]) -> Answer:
        """With the sequence number of each append. They began with the first event, and the next ones do."""
        self._numbers = count()
        before = 0
        for result in results:
            number = result.first_sequence_number
            check(number > before, f"an append was committed as {number}, the one before it as {before}")
            check(
                result.committed_count == 1 and result.last_sequence_number == number,
                f"one event was acknowledged as {result.committed_count}",
            )
            before = number
        return {**answer, "acknowledged": [result.first_sequence_number for result in results]}

    def _check(self, found: Sequence[tuple[int, str, str]], facts: int) -> None:
        """The log was filled with the source's facts, so many at a time."""
        check(len(found) >= facts, f"a replay ended after {len(found)} facts of {facts}")
        for number, each in enumerate(found):
            expected = (number + 1, *self._fact(number % facts))
            check(each == expected, f"fact {number + 1} of a replay is not the one that was acknowledged")


def _event(fact: Fact) -> factstr.Event:
    return factstr.Event(fact.event_type, factstr.JsonText(fact.payload))


if __name__ == "__main__":
    obey(Client(sys.argv[1]).commands)
