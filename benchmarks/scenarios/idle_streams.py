"""Many streams that wait for facts which do not come: what they cost a server's memory.

Each has a predicate of its own. Checked: a fact that one of them waits for is delivered to that one, and to no other.
"""

import asyncio
from typing import Final

from benchmarks.comparison import Spread
from benchmarks.connection import STREAM_TO
from benchmarks.results import FigureRow, FigureTable, Result, at_most
from benchmarks.scenarios.append import append_request
from benchmarks.scenarios.context_query import ServedLog
from benchmarks.stream_facts import digest_of_batch, stream_fact, subject_query
from benchmarks.workers import worker
from factstr.v1 import event_store_service_pb2 as pb

MOST_MB: Final = 200
_STREAMS_PER_CONNECTION: Final = 100


async def idle_streams(streams: int, served: ServedLog, result: Result) -> None:
    server, connection, log = served
    requests = [pb.StreamToRequest(query=subject_query(number)) for number in range(streams)]
    async with worker() as client:
        before = _megabytes(server.memory_mib())
        await client.ask(
            "subscribe",
            name="idle",
            address=server.address,
            method=STREAM_TO,
            requests=[request.SerializeToString().hex() for request in requests],
            connections=-(-streams // _STREAMS_PER_CONNECTION),
        )
        await asyncio.sleep(1)
        subscribed = _megabytes(server.memory_mib())
        fact = stream_fact(0)
        response = pb.AppendResponse.FromString(await connection.append(append_request([fact])))
        number = response.first_sequence_number
        woken = (1, digest_of_batch(0, number, number, [(number, fact.payload)]))
        await client.ask("settle", name="idle", expected=[woken, *[(0, 0)] * (streams - 1)])
    more = subscribed - before
    figures = {"MB before": before, "MB with them": subscribed, "KB each": more * 1000 / streams}
    name = f"{streams:,} idle streams"
    row = FigureRow(
        f"log of {log.size:,} facts", {key: Spread(each, each, each) for key, each in figures.items()}
    )
    result.figures.append(FigureTable(f"Memory of a server, and of {name} at it", [row]))
    result.expectations.append(at_most(f"log of {log.size:,}, {name}: MB more", more, MOST_MB))
    result.checks.append(f"{name}: a fact was delivered to the one that waited for it, and to no other")


def _megabytes(mebibytes: float | None) -> float:
    return (mebibytes or 0) * 2**20 / 1e6
