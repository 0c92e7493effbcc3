"""What administrators do to a database that servers are using: end their connections, change settings, restore it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from factstr.v1 import event_pb2
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.query import EVERYTHING
from factstr_server.log.event_log import EventLog
from factstr_server.log.subscription import CaughtUp
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.driver import Filter, NewFact, Query, of_type, where
from tests.conformance.streams import eventually
from tests.postgres.cluster import Cluster
from tests.postgres.fresh import fresh_url
from tests.stores.opened import compiled, prepared

pytestmark = pytest.mark.timeout(120)

ALL = Query()
SETTINGS = (
    "gin_fuzzy_search_limit = 5",
    "DateStyle = 'German'",
    "TimeZone = 'America/St_Johns'",
    "standard_conforming_strings = off",
    "bytea_output = 'escape'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_isolation = 'serializable'",
    "synchronous_commit = off",
    "statement_timeout = '2s'",
    "search_path = 'nowhere'",
    "work_mem = '64kB'",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.create() as it:
        yield it


@asynccontextmanager
async def log_on(url: str) -> AsyncIterator[EventLog]:
    log = EventLog(store_by_url(url, StoreOptions()))
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def count(log: EventLog, query: Query = ALL) -> int:
    return sum([len(part.records) async for part in log.query(compiled(query))])


@pytest.mark.parametrize("setting", SETTINGS)
async def test_a_setting_of_the_database_changes_nothing(cluster: Cluster, setting: str) -> None:
    name = f"d{abs(hash(setting))}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    async with log_on(cluster.url(name)) as log:
        facts = [
            NewFact("a" if n % 2 else "b", f'{{"n":{n},"s":"\\\\ \'"}}', {"k": "\\'"}) for n in range(200)
        ]
        first = await log.append(prepared(facts, key="k'\\"))
        again = await log.append(prepared(facts, key="k'\\"))
        assert again.repeated
        assert again[:3] == first[:3]
        assert await count(log) == 200
        assert await count(log, of_type("a")) == 100
        only = await log.append(prepared([NewFact("c")], context=where('{"n":7}'), expected=8))
        assert only.first_sequence_number == 201
        assert await log.sequence_number_at(first.occurred_at) == 200
        assert only.occurred_at >= first.occurred_at


async def test_appends_are_committed_once_whatever_connection_is_ended_and_when(cluster: Cluster) -> None:
    """Without keys: what was answered is in the log once, and what was not at most once."""
    print("seed", seed := random.randrange(2**32))
    chance = random.Random(seed)
    answered: list[str] = []
    refused: Counter[Reason] = Counter()
    surely_not: list[str] = []

    async def write(log: EventLog, writer: int, until: asyncio.Event) -> None:
        number = 0
        while not until.is_set():
            number += 1
            content = f"{writer}-{number}"
            try:
                more = [NewFact(payload='"more"')] * chance.choice((0, 0, 19))
                await log.append(prepared([NewFact(payload=f'"{content}"'), *more]))
                answered.append(content)
            except Refusal as refusal:
                refused[refusal.reason] += 1
                if refusal.reason is Reason.STORE_UNAVAILABLE:
                    surely_not.append(content)

    async def ended() -> int:
        return len(answered) + sum(refused.values())

    async with log_on(cluster.url(schema="ended")) as log:
        until = asyncio.Event()
        writers = [asyncio.create_task(write(log, writer, until)) for writer in range(8)]
        with cluster.connect() as connection:
            for _ in range(25):
                done = await ended()
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'factstr-server' AND query NOT LIKE '%%LISTEN%%'"
                )
                wanted = done + chance.randrange(1, 60)
                await eventually(ended, wanted.__le__)
        until.set()
        await asyncio.gather(*writers)
        found = Counter(
            [
                event_pb2.EventRecord.FromString(record).payload.strip('"')
                async for part in log.query(EVERYTHING)
                for record in part.records
            ]
        )
    del found["more"]
    assert [content for content in answered if found[content] != 1] == []
    assert [content for content, times in found.items() if times > 1] == []
    assert [content for content in surely_not if found[content]] == []


async def test_a_log_that_loses_its_end_under_a_living_connection_is_not_written_on_in_silence(
    tmp_path: Path,
) -> None:
    """A restore in place, or a pooler that leads to another server."""
    url = fresh_url(tmp_path)
    location = location_of(url)
    async with log_on(url) as log:
        history = log.info.history_id
        for _ in range(20):
            await log.append(prepared([NewFact("a")]))
        async with aclosing(log.live.stream(EVERYTHING, 0)) as stream:
            while not isinstance(await anext(stream), CaughtUp):
                pass
            with psycopg.connect(location.conninfo, autocommit=True) as connection:
                connection.execute(
                    f"BEGIN; DELETE FROM {location.schema}.records WHERE sequence_number > 10; "
                    f"UPDATE {location.schema}.head SET sequence_number = 10; COMMIT".encode()
                )
            # Enough to lift the head above what this server knew.
            result = await log.append(prepared([NewFact("b")] * 15))
            assert (result.first_sequence_number, result.last_sequence_number) == (11, 25)
            with pytest.raises(Refusal) as diverged:
                _ = [item async for item in stream]
        assert diverged.value.reason is Reason.LOG_DIVERGED
        assert log.info.history_id != history
        assert await count(log) == 25


async def test_an_append_that_cannot_be_looked_up_quickly_fails_no_other(tmp_path: Path) -> None:
    """Candidates that only the exact matcher tells apart, in a context beside which others are committed."""
    url = fresh_url(tmp_path)
    async with log_on(url) as log:
        near = '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}'
        await log.append(prepared([NewFact(payload=near)] * 5_000))
        slow = Query((Filter(predicates=('{"rows":[{"x":1,"y":1}]}',)),))
        results = await asyncio.gather(
            log.append(prepared([NewFact("slow")], context=slow, expected=None)),
            *(log.append(prepared([NewFact("quick")])) for _ in range(5)),
        )
        assert sorted(result.first_sequence_number for result in results) == list(range(5_001, 5_007))
