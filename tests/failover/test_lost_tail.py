"""A failover to a standby that was behind: the newest facts are gone, and everybody who knew them is told."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.driver import Failure, NewFact, of_type, refused
from tests.conformance.streams import Batch, Started, Stream, eventually
from tests.failover.succession import Succession
from tests.postgres.replay import replayed_head
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote, ServerProcess, server_processes, serving

SCHEMA = "factstr"
KEPT = 10
"""And one more."""
HEAD = 21
"""Before the failover."""
ACKNOWLEDGED = 5
KEPT_LAST = '"the last one that was kept"'
NEW = [f'"new {number}"' for number in range(15)]

pytestmark = pytest.mark.timeout(120)


class Scene(NamedTuple):
    """Two servers in this process, and one of its own, on a primary with an asynchronous standby."""

    succession: Succession
    a: Remote
    b: Remote
    c: Remote
    process_of_c: ServerProcess


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        succession = await stack.enter_async_context(Succession.of(1))
        await succession.prepare(synchronous=False)
        url = succession.url(schema=SCHEMA)
        [process] = stack.enter_context(server_processes(url, tmp_path, 1))
        a = await stack.enter_async_context(serving(url))
        b = await stack.enter_async_context(serving(url))
        c = await stack.enter_async_context(Remote(process.address()))
        yield Scene(succession, a, b, c, process)


async def stop_standby(succession: Succession, head: int) -> None:
    """Once it has everything up to there."""
    standby = succession.standby
    assert standby is not None
    await eventually(lambda: asyncio.to_thread(replayed_head, standby, SCHEMA), lambda found: found == head)
    await asyncio.to_thread(standby.stop)


async def fail_over(succession: Succession) -> None:
    """To the standby as it was."""
    await succession.kill_primary()
    assert succession.standby is not None
    await asyncio.to_thread(succession.standby.start)
    await succession.promote()


async def history_of(store: Remote) -> str:
    return (await store.info()).history_id


async def append_again(store: Remote, *facts: NewFact, key: str) -> int:
    """As soon as the store is back; the last number."""

    async def tried() -> int:
        try:
            return (await store.append(facts, key=key)).last
        except Failure as failure:
            if failure.reason != "STORE_UNAVAILABLE":
                raise
            return 0

    return await eventually(tried, bool)


class Before(NamedTuple):
    """What was there when the tail was lost."""

    streams: list[Stream]
    """Which have delivered all of it."""
    epoch: int
    tokens: list[str]
    """Of the durable stream: of each fact, by its place."""
    histories: set[str]


async def known_and_lost(scene: Scene, stack: AsyncExitStack) -> Before:
    """Facts that the standby has, and more that it never gets; streams and servers know all of them."""
    servers = (scene.a, scene.b, scene.c)
    streams = [
        await stack.enter_async_context(stream)
        for store in servers
        for stream in (store.stream_all(after=0), store.stream_to(of_type("a"), after=0))
    ]
    durable = await stack.enter_async_context(scene.a.stream_all_durable("s"))
    epoch = (await durable.started()).lease_epoch
    for number in range(1, KEPT + 1):
        await servers[number % 3].append([NewFact("a", str(number))], key=f"key {number}")
    tokens = [batch.token for batch in await durable.batches(KEPT)]
    assert await scene.b.acknowledge("s", tokens[ACKNOWLEDGED - 1]) == ACKNOWLEDGED
    # After the acknowledgement, so that the standby has that too.
    await scene.a.append([NewFact("a", KEPT_LAST)])
    await stop_standby(scene.succession, KEPT + 1)
    for number in range(KEPT + 2, HEAD + 1):
        await servers[number % 3].append([NewFact("a", str(number))], key=f"key {number}")
    for stream in streams:
        assert [batch.last for batch in await stream.batches(HEAD)] == list(range(1, HEAD + 1))
    tokens += [batch.token for batch in await durable.batches(HEAD - KEPT)]
    assert await scene.a.acknowledge("s", tokens[HEAD - 3]) == HEAD - 2
    return Before([*streams, durable], epoch, tokens, {await history_of(store) for store in servers})


async def check_that_nothing_from_before_counts(scene: Scene, before: Before, head: int) -> None:
    for store in (scene.a, scene.b, scene.c):
        assert await store.head() == head
        async with store.stream_all(after=head + 1) as stream:
            with refused("CURSOR_AHEAD_OF_LOG") as caught:
                await stream.next()
            assert caught.value.metadata["head_sequence_number"] == str(head)
        for token in (before.tokens[0], before.tokens[KEPT - 1], before.tokens[HEAD - 1]):
            with refused("DURABLE_STREAM_LEASE_LOST"):
                await store.acknowledge("s", token)
        assert (await store.durable("s")).cursor == ACKNOWLEDGED
        with refused("CONDITIONAL_APPEND_CONFLICT") as conflict:
            await store.append_if([NewFact("a")], of_type("a"), HEAD - 1)
        assert conflict.value.actual == head
        assert (await store.append([NewFact("a", "3")], key="key 3")).repeated


async def check_that_all_that_begins_now_is_right(scene: Scene, before: Before, head: int) -> None:
    servers = (scene.a, scene.b, scene.c)
    payloads = [fact.payload for batch in await whole_log(scene.a) for fact in batch.facts]
    assert payloads == [*map(str, range(1, KEPT + 1)), KEPT_LAST, *NEW]
    for store in servers:
        async with store.stream_all() as live, store.stream_to(of_type("b"), after=head) as filtered:
            assert await live.started() == await filtered.started() == Started(head)
            head = (await store.append([NewFact("a"), NewFact("b")])).last
            assert (await live.next_of(Batch)).numbers == [head - 1, head]
            assert (await filtered.next_of(Batch)).numbers == [head]
    log = await whole_log(scene.c)
    assert await whole_log(scene.a) == await whole_log(scene.b) == log
    async with scene.b.stream_all_durable("s", wait=True) as durable:
        started = await durable.next_of(Started)
        assert started.after == ACKNOWLEDGED
        assert started.lease_epoch > before.epoch
        delivered = await durable.batches(len(log) - ACKNOWLEDGED)
        assert [batch._replace(token="") for batch in delivered] == log[ACKNOWLEDGED:]
        assert await scene.c.acknowledge("s", delivered[-1].token) == head


async def test_a_lost_tail_is_told_to_everybody_who_knew_it_and_the_log_goes_on_under_a_new_history(
    scene: Scene,
) -> None:
    servers = (scene.a, scene.b, scene.c)
    async with AsyncExitStack() as stack:
        before = await known_and_lost(scene, stack)
        assert len(before.histories) == 1
        # One server hangs meanwhile, and finds other facts under the numbers that it knows.
        scene.process_of_c.send(signal.SIGSTOP)
        await fail_over(scene.succession)
        # The key was used for a fact that is lost.
        facts = [NewFact("a", payload) for payload in NEW]
        head = await append_again(scene.b, *facts, key=f"key {HEAD}")
        assert head == KEPT + 1 + len(NEW) > HEAD
        scene.process_of_c.send(signal.SIGCONT)

        for stream in before.streams:
            assert (await stream.ended()).reason == "LOG_DIVERGED"
        now = {await history_of(store) for store in servers}
        assert len(now) == 1
        assert now.isdisjoint(before.histories)
        assert len({(await store.info()).store_id for store in servers}) == 1

        await check_that_nothing_from_before_counts(scene, before, head)
        await check_that_all_that_begins_now_is_right(scene, before, head)
