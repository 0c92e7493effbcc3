"""Ten servers that open one fresh schema at the same moment, and write at once."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

from tests.conformance.driver import NewFact
from tests.conformance.streams import Batch
from tests.postgres.fresh import fresh_url
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote, serving

SERVERS = 10
APPENDS = 15


async def test_ten_servers_that_open_a_fresh_schema_at_once_leave_one_gapless_log(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)

    async def write(server: Remote, name: str) -> list[tuple[int, int]]:
        ranges = []
        for number in range(APPENDS):
            appended = await server.append(
                [NewFact(name, str(number))] * (number % 3 + 1), key=f"{name} {number}"
            )
            assert not appended.repeated
            ranges.append((appended.first, appended.last))
        return ranges

    async with AsyncExitStack() as stack:
        servers = await asyncio.gather(*(stack.enter_async_context(serving(url)) for _ in range(SERVERS)))
        infos = [await server.info() for server in servers]
        assert len({(info.store_id, info.history_id) for info in infos}) == 1
        streams = [await stack.enter_async_context(server.stream_all()) for server in servers]
        for stream in streams:
            assert (await stream.started()).after == 0
        written = await asyncio.gather(
            *(write(server, f"server {place}") for place, server in enumerate(servers))
        )
        assert all(before[1] < after[0] for ranges in written for before, after in pairwise(ranges))
        ranges = sorted(each for ranges in written for each in ranges)
        assert [first for first, _ in ranges] == [1, *(last + 1 for _, last in ranges[:-1])]
        log = await whole_log(servers[0])
        assert [(batch.first, batch.last) for batch in log] == ranges
        for stream in streams:
            assert [await stream.next_of(Batch) for _ in log] == log
