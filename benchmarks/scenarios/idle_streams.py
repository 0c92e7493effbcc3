"""Many streams that wait for facts which do not come: what they cost a server's memory.

Each has a predicate of its own. Checked: a fact that one of them waits for is delivered to that one, and to no other;
what has not come to another is told by what comes after it, a batch with one fact for each.
"""

import asyncio
from typing import Final

from benchmarks.comparison import Spread
from benchmarks.connection import STREAM_TO, Connection
from benchmarks.facts import Fact
from benchmarks.results import FigureRow, FigureTable, Result, at_most
from benchmarks.scenarios.append import append_request
from benchmarks.scenarios.context_query import ServedLog
from benchmarks.scenarios.filled_log import FilledLog
from benchmarks.stream_facts import digest_of_batch, subject_query
from benchmarks.stream_ledger import Expected
from benchmarks.workers import worker
from factstr.v1 import event_store_service_pb2 as pb

MOST_MB: Final = 200
MORE: Final = "MB more"
_STREAMS_PER_CONNECTION: Final = 100


async def idle_streams(streams: int, served: ServedLog, what: str, result: Result) -> FigureRow:
    """`what` the server has done before."""
    server, connection, _ = served
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
        expected = [(0, 0)] * streams
        for subjects in (range(1), range(streams)):
            await _wake(subjects, connection, expected)
        await client.ask("settle", name="idle", expected=expected)
    result.checks.append(
        f"{streams:,} idle streams, {what}: a fact was delivered to the one that waited for it, and to no other"
    )
    more = subscribed - before
    figures = {"MB before": before, "MB with them": subscribed, MORE: more, "KB each": more * 1000 / streams}
    return FigureRow(what, {key: Spread(each, each, each) for key, each in figures.items()})


def memory_of_idle_streams(streams: int, log: FilledLog, rows: list[FigureRow], result: Result) -> None:
    """The first row is judged."""
    title = f"Memory of a server of {log.size:,} facts, and of {streams:,} idle streams at it"
    result.figures.append(FigureTable(title, rows))
    more = rows[0].figures[MORE].median
    result.expectations.append(
        at_most(f"log of {log.size:,}, {streams:,} idle streams: {MORE}", more, MOST_MB)
    )


async def _wake(subjects: range, connection: Connection, expected: Expected) -> None:
    """Appends a batch with one fact for each of these streams, which it adds to what they must have brought."""
    facts = [Fact("Woken", f'{{"subject":{{"id":"{subject}"}}}}') for subject in subjects]
    response = pb.AppendResponse.FromString(await connection.append(append_request(facts)))
    first, last = response.first_sequence_number, response.last_sequence_number
    for subject, fact in zip(subjects, facts, strict=True):
        count, digest = expected[subject]
        delivered = [(first + subject - subjects[0], fact.payload)]
        expected[subject] = count + 1, digest_of_batch(digest, first, last, delivered)


def _megabytes(mebibytes: float | None) -> float:
    return (mebibytes or 0) * 2**20 / 1e6
