"""Ten thousand requests as no client would send them leave the server serving, and holding no more than before.

FACTSTR_FUZZ_REQUESTS asks for more of them, FACTSTR_FUZZ_SEED for those of an earlier run.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.driver import NewFact, of_type, where
from tests.fuzzing import http2
from tests.fuzzing.calls import Calls
from tests.fuzzing.watching import Held, Watched, of_defects
from tests.sharing.servers import Remote

REQUESTS: Final = int(os.environ.get("FACTSTR_FUZZ_REQUESTS", "10000"))
SECONDS: Final = 160 + REQUESTS // 40

MAX_GROWTH_KIB: Final = 24 * 1024 + REQUESTS // 4
"""Of the server's memory from one half of the requests to the other. All that it keeps within bounds is full by then,
and half as many requests have warmed up the rest: allocators and SQLite, which still come and go by up to 16 MiB. Half
a KiB for each request is for what gRPC itself loses: about 2 KB of each call that is reset before it is answered.
"""

FILLING: Final = "filling"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    server = Watched(tmp_path, f"sqlite:///{tmp_path}/facts.db")
    try:
        yield server
    finally:
        server.process.kill()


@pytest.mark.timeout(SECONDS)
async def test_mutated_requests_leave_the_server_as_it_was(watched: Watched) -> None:
    seed = int(os.environ.get("FACTSTR_FUZZ_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FACTSTR_FUZZ_SEED={seed} FACTSTR_FUZZ_REQUESTS={REQUESTS}")
    address = watched.process.address()
    calls = Calls(address)
    async with Remote(address) as remote:
        await fill(remote)
        half = REQUESTS // 2
        await calls.run(seed, range(half))
        warm = await watched.held()
        await calls.run(seed, range(half, 2 * half))
        before = await watched.held()
        await calls.run(seed, range(2 * half, 3 * half))
        after = await watched.settled(lambda held: at_most(held, before))
        print(f"{warm}\n{before}\n{after}\n{calls.outcomes}")
        assert at_most(after, before)
        assert calls.complaints == []
        await assert_serving(remote)
        await assert_log_is_what_was_acknowledged(remote, calls)
    await calls.close()
    assert watched.process.runs
    assert of_defects(watched.process.said) == []


def at_most(after: Held, before: Held) -> bool:
    return (
        after.tasks <= before.tasks
        and after.files <= before.files
        and after.memory_kib <= before.memory_kib + MAX_GROWTH_KIB
    )


async def fill(remote: Remote) -> None:
    """What the server keeps in memory, so that it grows no further: 32 MiB of newest facts, 1,024 queries, 4,096
    predicates, and as many event types.
    """
    payload = '"' + "x" * 100_000 + '"'
    for _ in range(15):
        await remote.append([NewFact(FILLING, payload)] * 29)
    await remote.append([NewFact(f"{FILLING}-{number}") for number in range(4_200)])
    for number in range(1_100):
        predicates = [f'{{"filling": {{"{number}": [{other}, "{"x" * 80}"]}}}}' for other in range(4)]
        assert not (await remote.query(where(*predicates))).facts


async def assert_serving(remote: Remote) -> None:
    async with (
        remote.stream_to(of_type("afterwards")) as stream,
        remote.stream_all_durable("after") as durable,
    ):
        await stream.started()
        await durable.started()
        appended = await remote.append([NewFact("afterwards")])
        [batch] = await stream.batches(1)
        assert batch.last == appended.last
    answer = await remote.query(of_type("afterwards"))
    assert [fact.sequence_number for fact in answer.facts] == [appended.last]


async def assert_log_is_what_was_acknowledged(remote: Remote, calls: Calls) -> None:
    """Numbers have no gaps, and belong to acknowledged appends, but for those whose answers nobody read."""
    acknowledged = {number for first, last in calls.acknowledged for number in range(first, last + 1)}
    expected = 0
    unheard = []
    async for part in remote.parts():
        for fact in part.facts:
            expected += 1
            assert fact.sequence_number == expected
            if fact.sequence_number not in acknowledged:
                unheard.append(fact.event_type)
    assert max(acknowledged, default=0) <= expected
    assert {kind.partition("-")[0] for kind in unheard} <= {http2.UNHEARD_TYPE, FILLING, "afterwards"}
