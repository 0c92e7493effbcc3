"""Sixteen writers on twenty contended contexts, through two real servers on one PostgreSQL: one run, looked at from all
sides.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import product

import psycopg
import pytest
from psycopg import sql

from tests.conformance.facts import Fact
from tests.conformance.streams import Batch
from tests.histories.history import History
from tests.histories.linearizability import problems
from tests.postgres.fresh import fresh_url, without_schema
from tests.sharing.accounts import SELECTIONS, content_of, logged
from tests.sharing.recording import Recorder, whole_log
from tests.sharing.servers import Remote, server_processes
from tests.sharing.writing import Load, Writer, write_the_end

pytestmark = pytest.mark.timeout(120)

WRITERS = 16
COMMITS = 640


@dataclass
class Run:
    """What was seen of it."""

    writers: list[Writer]
    history: History
    streams: list[Recorder]
    logs: list[list[Batch]]
    """As each server tells it afterwards."""
    answers: list[tuple[Fact, ...]]
    """What each server answers to a query of all facts."""
    rows: list[tuple[int, str, str]]
    """Number, type and payload, as SQL shows them."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("contended")
    url = fresh_url(folder)
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    with server_processes(url, folder, 2) as processes:
        addresses = [process.address() for process in processes]
        run = asyncio.run(contend(addresses, seed))
        schema = url.rpartition("schema=")[2]
        with psycopg.connect(without_schema(url)) as connection:
            rows = sql.SQL(
                "SELECT sequence_number, event_type, payload::text FROM {}.facts ORDER BY sequence_number"
            )
            run.rows = connection.execute(rows.format(sql.Identifier(schema))).fetchall()
        for process in processes:
            process.stop()
    return run


async def contend(addresses: list[str], seed: int) -> Run:
    history = History()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Remote(address)) for address in addresses]
        streams: list[Recorder] = []

        async def record(after: int | None) -> None:
            recorders = [
                Recorder(store, selection, after) for store, selection in product(stores, SELECTIONS)
            ]
            streams.extend(await asyncio.gather(*(recorder.begin() for recorder in recorders)))

        await record(0)
        await record(None)
        load = Load(stores, WRITERS, history, seed)
        load.begin()
        for _ in range(3):
            await load.made(COMMITS // 8)
            await record(None)
            await record(load.committed // 2)
        await load.made(COMMITS // 8)
        await record(0)
        await load.end()
        await write_the_end(stores[0], history)
        await asyncio.gather(*(recorder.ended(30) for recorder in streams))
        logs = [await whole_log(store) for store in stores]
        answers = [(await store.query()).facts for store in stores]
        return Run(load.writers, history, streams, logs, answers, [])


def test_the_history_is_linearizable_without_a_gap_and_equal_to_the_log(run: Run) -> None:
    assert problems(run.history, logged(run.logs[0])) == []


def test_the_contexts_were_contended_and_every_writer_came_to_its_turn(run: Run) -> None:
    assert all(writer.committed for writer in run.writers)
    assert sum(writer.conflicts for writer in run.writers) > COMMITS / 10
    assert not any(writer.unavailable or writer.unknown for writer in run.writers)


def test_both_servers_and_the_database_tell_the_same_log(run: Run) -> None:
    first, second = run.logs
    assert first == second
    facts = tuple(fact for batch in first for fact in batch.facts)
    assert run.answers == [facts, facts]
    assert run.rows == [(fact.sequence_number, fact.event_type, fact.payload) for fact in facts]
    assert len({content_of(fact) for fact in facts}) == len(facts)


def test_streams_of_both_servers_deliver_the_log_from_wherever_they_began(run: Run) -> None:
    assert len(run.streams) == 9 * 2 * len(SELECTIONS)
    assert {recorder.after for recorder in run.streams} > {0}
    for recorder in run.streams:
        recorder.check(run.logs[0])
