"""What administrators do to a database that servers are using: end their connections, change settings, restore it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from factstr.v1 import event_pb2
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.query import EVERYTHING
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import Started, StreamItem
from factstr_server.log.subscription import CaughtUp
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.postgres import watching
from factstr_server.stores.postgres.location import Location, location_of
from factstr_server.stores.protocol import StoreOptions
from factstr_server.stores.stream_protocol import Acquired, Acquisition
from tests.conformance.driver import Filter, NewFact, Query, of_type, where
from tests.conformance.streams import eventually
from tests.postgres.cluster import Cluster
from tests.postgres.fresh import fresh_url
from tests.stores.opened import compiled, opened, prepared

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
async def log_on(url: str, unavailable_wait: timedelta = timedelta(seconds=5)) -> AsyncIterator[EventLog]:
    options = StoreOptions(unavailable_wait=unavailable_wait)
    log = EventLog(store_by_url(url, options), unavailable_wait=unavailable_wait)
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


async def read_to_the_end(stream: AsyncIterator[StreamItem]) -> None:
    async with asyncio.timeout(20):
        async for _ in stream:
            pass


def lose_the_end(location: Location, kept: int) -> None:
    with psycopg.connect(location.conninfo, autocommit=True) as connection:
        connection.execute(
            f"BEGIN; DELETE FROM {location.schema}.records WHERE sequence_number > {kept}; "
            f"UPDATE {location.schema}.head SET sequence_number = {kept}; COMMIT".encode()
        )


def end_connections(location: Location) -> None:
    """Those of the servers."""
    with psycopg.connect(location.conninfo, autocommit=True, application_name="test") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'factstr-server' AND datname = current_database()"
        )


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
            lose_the_end(location, 10)
            # Enough to lift the head above what this server knew.
            result = await log.append(prepared([NewFact("b")] * 15))
            assert (result.first_sequence_number, result.last_sequence_number) == (11, 25)
            with pytest.raises(Refusal) as diverged:
                await read_to_the_end(stream)
        assert diverged.value.reason is Reason.LOG_DIVERGED
        assert log.info.history_id != history
        assert await count(log) == 25


async def test_a_new_history_ends_the_streams_of_a_server_that_misses_nothing_too(tmp_path: Path) -> None:
    """Another server has found the log diverged: what that one has named, a stream of this one may have begun after."""
    url = fresh_url(tmp_path)
    location = location_of(url)
    async with log_on(url) as log:
        history = log.info.history_id
        await log.append(prepared([NewFact("a")]))
        async with aclosing(log.live.stream(EVERYTHING, 0)) as stream:
            while not isinstance(await anext(stream), CaughtUp):
                pass
            with psycopg.connect(location.conninfo, autocommit=True) as connection:
                connection.execute(
                    f"UPDATE {location.schema}.store SET history_id = gen_random_uuid()".encode()
                )
            with pytest.raises(Refusal) as diverged:
                await read_to_the_end(stream)
        assert diverged.value.reason is Reason.LOG_DIVERGED
        assert log.info.history_id != history
        assert (await log.append(prepared([NewFact("b")]))).first_sequence_number == 2


async def test_a_head_that_was_named_is_missed_when_it_is_gone_although_no_look_had_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LOOK_SECONDS_WITHOUT_LISTEN", 3_600.0)
    url = fresh_url(tmp_path)
    location = location_of(url)
    async with log_on(url + ("&" if "?" in url else "?") + "listen=off") as log:
        history = log.info.history_id
        async with log_on(url) as other:
            await other.append(prepared([NewFact("a")]))
        async with aclosing(log.live.stream(EVERYTHING, None)) as stream:
            assert await anext(stream) == Started(1)
            lose_the_end(location, 0)
            end_connections(location)
            # Finds its connection broken, and so the watch makes a new one.
            await log.head()
            with pytest.raises(Refusal) as diverged:
                await read_to_the_end(stream)
        assert diverged.value.reason is Reason.LOG_DIVERGED
        assert log.info.history_id != history


async def test_a_lease_from_before_the_clock_was_set_back_does_not_last_until_that_time_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT_SECONDS", 3_600.0)
    url = fresh_url(tmp_path)
    location = location_of(url)
    wanted = Acquisition("s", "[]", "[]", "holder")
    async with opened(url) as dead, opened(url) as other:
        first = await dead.acquire(wanted)
        assert isinstance(first, Acquired)
        for at, free in (
            ("- interval '14 s'", False),
            ("+ interval '14 s'", False),
            ("+ interval '1 h'", True),
        ):
            with psycopg.connect(location.conninfo, autocommit=True) as connection:
                connection.execute(
                    f"UPDATE {location.schema}.servers SET heartbeat_at = clock_timestamp() {at}".encode()
                )
            assert isinstance(await other.acquire(wanted), Acquired) == free


async def test_another_store_under_the_same_name_is_neither_read_nor_written(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    location = location_of(url)
    async with log_on(url, timedelta(seconds=1)) as log:
        await log.append(prepared([NewFact("a")]))
        with psycopg.connect(location.conninfo, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {location.schema} CASCADE".encode())
        async with log_on(url) as other:
            end_connections(location)
            for refused in (lambda: log.append(prepared([NewFact("a")])), log.head):
                with pytest.raises(Refusal) as unavailable:
                    await refused()
                assert unavailable.value.reason is Reason.STORE_UNAVAILABLE
            assert await count(other) == 0


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


async def test_many_consumers_that_begin_at_once_are_no_outage(tmp_path: Path) -> None:
    """They wait for one of few connections, longer than appends would wait for the database."""
    store = store_by_url(fresh_url(tmp_path), StoreOptions(unavailable_wait=timedelta(seconds=0.2)))
    await store.open()
    try:
        wanted = [Acquisition(f"s {number}", "[]", "[]", "holder") for number in range(300)]
        outcomes = await asyncio.gather(*map(store.acquire, wanted))
        assert all(isinstance(outcome, Acquired) for outcome in outcomes)
    finally:
        await store.close()
