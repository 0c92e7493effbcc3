"""All other calls: pages of queries, requests that are refused, connections, health checks, administration."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import Final

from grpc_health.v1 import health_pb2

from factstr.v1 import event_store_service_pb2 as pb
from factstr.v1 import server_service_pb2
from tests.conformance.driver import NewFact, Query, refused, where
from tests.conformance.wire import told
from tests.reliability.endurance.cutting import called
from tests.reliability.endurance.pace import Pace
from tests.security.calls import streaming, unary
from tests.service import raw
from tests.sharing.accounts import MIXED, OF_TYPE, SELECTIONS
from tests.sharing.servers import Remote

_PAGE: Final = 40

_BEYOND: Final = 2**63
"""Every fact."""

_HEALTH: Final = "/grpc.health.v1.Health"
_SERVED: Final = "factstr.v1.EventStoreService"

_UNKNOWN_FIELD: Final = pb.AppendRequest().SerializeToString() + b"\xfa\x01\x00"

CONSUMED: Final = (OF_TYPE, MIXED)
"""By durable streams of their names, all the time."""

Work = Callable[[Remote], Awaitable[object]]

REFUSED: Final[tuple[tuple[str, Work], ...]] = (
    ("EMPTY_APPEND", lambda store: store.append([])),
    ("INVALID_EVENT_TYPE", lambda store: store.append([NewFact("")] * 20)),
    ("INVALID_PAYLOAD", lambda store: store.append([NewFact(payload="{")])),
    ("INVALID_PREDICATE", lambda store: store.query(where("{"))),
    ("BATCH_TOO_LARGE", lambda store: store.append([NewFact(payload=f'"{"x" * 1_100_000}"')] * 3)),
    ("UNSUPPORTED_FIELD", lambda store: told(raw.unary(store.channel, raw.APPEND)(_UNKNOWN_FIELD))),
    ("DURABLE_STREAM_NOT_FOUND", lambda store: store.durable("nobody")),
    ("INVALID_ARGUMENT", lambda store: store.list_durable(token="?")),
)


def never_asked_before(content: str) -> Query:
    """Nothing matches it, and it is as large as all of these."""
    return where(*(json.dumps({"content": [content, number]}) for number in range(4)))


class Caller:
    """One client, which makes one call after the other."""

    def __init__(self, name: str, store: Remote, chance: Random) -> None:
        self.name = name
        self._store = store
        self._chance = chance
        self._queries = count(1)
        self._kinds: tuple[tuple[Callable[[], Awaitable[None]], int], ...] = (
            (self._pages, 20),
            (self._pages_backwards, 20),
            (self._left_query, 4),
            (self._never_asked_before, 50),
            (self._refused, 20),
            (self._connection, 15),
            (self._health, 15),
            (self._administration, 20),
        )

    async def work(self, pace: Pace, ending: asyncio.Event) -> None:
        works, weights = zip(*self._kinds, strict=True)
        while not ending.is_set():
            await pace.wait()
            [work] = self._chance.choices(works, weights)
            await work()

    async def _pages(self) -> None:
        query = self._chance.choice(SELECTIONS).query
        after = 0
        for _ in range(3):
            numbers = (await self._store.query(query._replace(after=after), limit=_PAGE)).numbers
            assert [after, *numbers] == sorted({after, *numbers})
            after = [after, *numbers][-1]

    async def _pages_backwards(self) -> None:
        query = self._chance.choice(SELECTIONS).query
        before = _BEYOND
        for _ in range(3):
            numbers = (await self._store.query(query, descending=True, before=before, limit=_PAGE)).numbers
            assert [before, *numbers] == sorted({before, *numbers}, reverse=True)
            before = [before, *numbers][-1]

    async def _left_query(self) -> None:
        """In the middle of its answer."""
        call = raw.streaming(self._store.channel, raw.QUERY)(b"")
        answer = await call.read()
        call.cancel()
        assert isinstance(answer, bytes)
        assert pb.QueryResponse.FromString(answer).event_records[0].sequence_number == 1

    async def _never_asked_before(self) -> None:
        query = never_asked_before(f"{self.name}, query {next(self._queries)}")
        assert (await self._store.query(query)).context_version is None

    async def _refused(self) -> None:
        reason, work = self._chance.choice(REFUSED)
        with refused(reason):
            await work(self._store)

    async def _connection(self) -> None:
        if self._chance.random() < 0.05:
            async with Remote(self._store.address) as own:
                await own.head()
        else:
            async with called(self._store, raw.INFO, server_service_pb2.GetServerInfoRequest()) as received:
                assert received

    async def _health(self) -> None:
        channel = self._store.channel
        request = health_pb2.HealthCheckRequest(service=_SERVED).SerializeToString()
        if self._chance.random() < 0.5:
            call = streaming(channel, f"{_HEALTH}/Watch")(request)
            answer = await call.read()
            call.cancel()
        else:
            answer = await unary(channel, f"{_HEALTH}/Check")(request)
        assert isinstance(answer, bytes)
        status = health_pb2.HealthCheckResponse.FromString(answer).status
        assert status == health_pb2.HealthCheckResponse.SERVING

    async def _administration(self) -> None:
        head = (await self._store.info()).head
        names = [selection.name for selection in CONSUMED]
        listing = await self._store.list_durable(min(names)[:2], page_size=1)
        for stream in listing.streams:
            assert stream.name in names
            assert stream.cursor <= stream.head
            seconds = self._chance.random() / 10
            assert not (await self._store.await_cursor(stream.name, head + 10_000, seconds))[1]
        assert await self._store.sequence_number_at(1) == 0
