"""A primary that is killed under load, and its synchronous standby that takes over, again and again: nothing that was
acknowledged is lost, and nobody but the database was restarted.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from itertools import product
from pathlib import Path

import pytest

from factstr.v1 import server_service_pb2
from tests.failover.succession import Succession
from tests.histories.history import Committed, History
from tests.histories.linearizability import problems
from tests.sharing.accounts import ALL, MIXED, OF_ACCOUNT, SELECTIONS, logged
from tests.sharing.recording import Consumer, Recorder, whole_log
from tests.sharing.servers import Remote, server_processes
from tests.sharing.writing import Load, write_the_end

ROUNDS = 5
WRITERS = 8
COMMITS_BETWEEN = 60
LONG_OUTAGES = (1, 3)
"""After which kills the standby takes over later than appends wait for it."""


async def started_at(store: Remote) -> int:
    answer = await store._about.GetServerInfo(server_service_pb2.GetServerInfoRequest())
    return answer.started_at.ToNanoseconds()


@pytest.mark.timeout(180)
async def test_five_failovers_under_load_lose_nothing_that_was_acknowledged_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    history = History()
    async with AsyncExitStack() as stack:
        succession = await stack.enter_async_context(Succession.of(ROUNDS + 1))
        await succession.prepare()
        url = succession.url(schema="factstr")
        processes = stack.enter_context(server_processes(url, tmp_path, 2, "--unavailable-wait", "1"))
        stores = [await stack.enter_async_context(Remote(process.address())) for process in processes]
        begun = [(await store.info(), await started_at(store)) for store in stores]
        streams = [
            *(Recorder(store, selection, 0) for store, selection in product(stores, SELECTIONS)),
            Consumer(stores, ALL, "all"),
            Consumer(stores[::-1], OF_ACCOUNT, "of an account"),
            Consumer(stores, MIXED, "mixed"),
        ]
        await asyncio.gather(*(stream.begin() for stream in streams))
        load = Load(stores, WRITERS, history, seed)
        load.begin()
        for number in range(ROUNDS):
            # Through both servers: then whatever was acknowledged before is on the standby.
            await load.made(COMMITS_BETWEEN)
            await succession.kill_primary()
            acknowledged = max(
                call.outcome.last for call in history.appends if isinstance(call.outcome, Committed)
            )
            if number in LONG_OUTAGES:
                await load.refused()
            await succession.promote()
            await load.made(COMMITS_BETWEEN)
            assert await stores[0].head() > acknowledged
            load.pause()
            await succession.prepare()
            load.resume()
        await load.made(COMMITS_BETWEEN)
        await load.end()
        await write_the_end(stores[0], history)
        await asyncio.gather(*(stream.ended(30) for stream in streams))

        log = await whole_log(stores[0])
        assert await whole_log(stores[1]) == log
        assert problems(history, logged(log)) == []
        for stream in streams:
            stream.check(log)
        assert [(await store.durable("all")).cursor for store in stores] == [log[-1].last] * 2
        assert all(process.runs for process in processes)
        # The head is another one.
        now = [(await store.info(), await started_at(store)) for store in stores]
        assert [(info[:3], at) for info, at in now] == [(info[:3], at) for info, at in begun]
    print(load)
