"""One active consumer for each name, and one cursor, whichever servers consumers and acknowledgements come to."""

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from factstr_server.log import stream_positions
from tests.conformance.driver import Failure, of_type, refused
from tests.conformance.streams import (
    PATIENCE_SECONDS,
    Batch,
    Item,
    Started,
    Stream,
    Waiting,
)
from tests.postgres.fresh import fresh_url
from tests.sharing.conftest import Two
from tests.sharing.servers import Remote, ServerProcess, server_processes

AT_ONCE_SECONDS = 5.0
"""Far below the 20 s after which a lease ends by itself."""


@pytest.fixture
async def stocked(two: Two) -> Two:
    """Three batches of one."""
    for _ in range(3):
        await two.a.append_types("a")
    return two


async def lease(stream: Stream, seconds: float) -> Started:
    """The beginning of a stream that waits for its lease, within so long."""
    async with asyncio.timeout(seconds):
        return await stream.next_of(Started)


async def test_a_name_that_is_consumed_at_one_server_is_refused_at_the_other_and_its_holder_is_told(
    stocked: Two,
) -> None:
    a, b = stocked
    async with a.stream_all_durable("s") as stream:
        epoch = (await stream.started()).lease_epoch
        state = await b.durable("s")
        assert (state.active, state.lease_epoch) == (True, epoch)
        assert state.holder == (await a.durable("s")).holder != ""
        with refused("DURABLE_STREAM_ACTIVE") as caught:
            await b.stream_all_durable("s").next()
        assert caught.value.metadata == {"holder": state.holder, "lease_epoch": str(epoch)}
        for change in (b.reset("s", 1), b.delete("s")):
            with refused("DURABLE_STREAM_ACTIVE"):
                await change
        with refused("DURABLE_STREAM_QUERY_MISMATCH"):
            await b.stream_to_durable("s", of_type("a")).next()


async def test_a_consumer_that_waits_at_the_other_server_gets_the_lease_at_once_with_a_higher_epoch(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    await a.append_types("a")
    holding = a.stream_all_durable("s")
    epochs = [(await holding.started()).lease_epoch]
    for number in range(8):
        waiting = (b, a)[number % 2].stream_all_durable("s", wait=True)
        holder = (await a.durable("s")).holder
        assert await waiting.next() == Waiting(epochs[-1], holder)
        await holding.close()
        epochs.append((await lease(waiting, AT_ONCE_SECONDS)).lease_epoch)
        assert [batch.last for batch in await waiting.batches(1)] == [1]
        holding = waiting
    await holding.close()
    assert epochs == sorted(set(epochs))


async def test_whoever_waits_longest_is_not_overtaken_on_its_own_server_and_all_get_their_turn(
    two: Two,
) -> None:
    a, b = two
    holding = a.stream_all_durable("s")
    await holding.started()
    waiting: list[Stream] = []
    for server in (b, b, b, a, a):
        waiting.append(server.stream_all_durable("s", wait=True))
        assert isinstance(await waiting[-1].next(), Waiting)
    assert ((await a.durable("s")).waiting, (await b.durable("s")).waiting) == (2, 3)
    turns: list[int] = []

    async def take_turn(number: int) -> None:
        async with waiting[number] as stream:
            await lease(stream, 2 * AT_ONCE_SECONDS)
            turns.append(number)

    taking = [asyncio.create_task(take_turn(number)) for number in range(len(waiting))]
    await holding.close()
    await asyncio.gather(*taking)
    assert [turn for turn in turns if turn < 3] == [0, 1, 2]
    assert [turn for turn in turns if turn >= 3] == [3, 4]


async def test_acknowledgements_through_the_other_server_open_the_window_and_move_the_cursor(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    for _ in range(10):
        await a.append_types("a")
    async with a.stream_all_durable("s", window=1) as stream:
        await stream.started()
        for number in range(1, 11):
            [batch] = await stream.batches(1)
            assert batch.last == number
            assert not stream.ready()
            assert (await a.durable("s")).cursor == (await b.durable("s")).cursor == number - 1
            assert await b.acknowledge("s", batch.token) == number
            assert (await b.durable("s")).cursor == number
    assert (await a.free()).cursor == 10


async def test_acknowledging_again_or_out_of_order_through_both_servers_is_harmless(stocked: Two) -> None:
    a, b = stocked
    async with a.stream_all_durable("s") as stream:
        one, two, three = await stream.batches(3)
        assert await b.acknowledge("s", two.token) == 2
        assert await a.acknowledge("s", one.token) == 2
        assert await a.acknowledge("s", three.token) == 3
        assert await b.acknowledge("s", two.token) == 3
    assert await b.acknowledge("s", one.token) == 3, "the epoch is still the stream's"


async def test_a_forced_reset_through_the_other_server_ends_the_consumer_and_its_tokens(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    for _ in range(3):
        await a.append_types("a")
    async with a.stream_all_durable("s") as stream:
        batches = await stream.batches(3)
        assert (await b.reset("s", 1, force=True)).cursor == 1
        for server in (b, a):
            with refused("DURABLE_STREAM_LEASE_LOST"):
                await server.acknowledge("s", batches[2].token)
        assert (await stream.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
    async with a.stream_all_durable("s", wait=True) as stream:
        started = await lease(stream, AT_ONCE_SECONDS)
        assert started.after == 1
        assert started.lease_epoch > (await b.durable("s")).lease_epoch - 1


async def test_a_forced_deletion_through_the_other_server_ends_the_consumer_and_its_tokens(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    await a.append_types("a")
    async with a.stream_all_durable("s") as stream:
        old = await stream.started()
        [batch] = await stream.batches(1)
        await b.delete("s", force=True)
        for server in (b, a):
            with refused("DURABLE_STREAM_NOT_FOUND"):
                await server.acknowledge("s", batch.token)
        assert (await stream.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
    async with b.stream_all_durable("s", wait=True) as stream:
        new = await lease(stream, AT_ONCE_SECONDS)
        assert new.after == 0
        assert new.lease_epoch > old.lease_epoch
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await a.acknowledge("s", batch.token)
        assert (await a.durable("s")).cursor == 0


async def test_a_consumer_that_waits_hears_of_a_reset_through_the_other_server(stocked: Two) -> None:
    a, b = stocked
    async with a.stream_all_durable("s") as stream:
        await stream.batches(3)
        async with b.stream_all_durable("s", wait=True) as waiting:
            assert isinstance(await waiting.next(), Waiting)
            await a.reset("s", 2, force=True)
            started = await lease(waiting, AT_ONCE_SECONDS)
            assert started.after == 2
            assert [batch.last for batch in await waiting.batches(1)] == [3]


async def test_awaiting_at_one_server_hears_of_acknowledgements_made_at_the_other(
    two_either_way: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_positions, "_LOOK_AGAIN_SECONDS", 3_600.0)
    a, b = two_either_way
    for _ in range(2):
        await a.append_types("a")
    async with a.stream_all_durable("s") as stream:
        for batch in await stream.batches(2):
            awaiting = asyncio.create_task(b.await_cursor("s", batch.last, 3_000))
            assert await b.await_cursor("s", batch.last, 0) == (batch.last - 1, False)
            assert await a.acknowledge("s", batch.token) == batch.last
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await awaiting == (batch.last, True)


async def test_awaiting_at_one_server_sees_that_a_consumer_of_the_other_passed_what_does_not_match(
    two_either_way: Two,
) -> None:
    a, b = two_either_way
    await b.append_types("wanted")
    async with a.stream_to_durable("s", of_type("wanted")) as stream:
        [batch] = await stream.batches(1)
        other = await b.append_types("other", "other")
        assert await b.await_cursor("s", other.last, 0) == (0, False)
        await b.acknowledge("s", batch.token)
        assert await b.await_cursor("s", other.last, PATIENCE_SECONDS) == (other.last, True)


async def test_a_consumer_moves_between_servers_and_misses_nothing(two: Two) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(60):
        await two[number % 2].append_types("a")
    cursor = 0
    while cursor < 60:
        consuming, acknowledging = chance.choice(two), chance.choice(two)
        async with consuming.stream_all_durable("s", wait=True) as stream:
            started = await lease(stream, AT_ONCE_SECONDS)
            assert started.after == cursor
            batches = await stream.batches(min(chance.randint(1, 12), 60 - cursor))
            assert [batch.last for batch in batches] == [cursor + n for n in range(1, len(batches) + 1)]
            if done := batches[: chance.randint(0, len(batches))]:
                cursor = await acknowledging.acknowledge("s", done[-1].token)
                assert cursor == done[-1].last


# Servers that die.


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[tuple[list[ServerProcess], list[Remote]]]:
    """Servers as processes of their own, and clients of theirs."""
    with server_processes(fresh_url(tmp_path), tmp_path, 3) as processes:
        async with AsyncExitStack() as stack:
            remotes = [await stack.enter_async_context(Remote(process.address())) for process in processes]
            yield processes, remotes


@pytest.mark.timeout(120)
async def test_the_leases_of_a_killed_and_of_a_hung_server_go_to_who_waits_and_what_was_not_acknowledged_comes_again(
    three: tuple[list[ServerProcess], list[Remote]],
) -> None:
    """Both at once, because it takes its time."""
    (killed, hung, _), (a, b, c) = three
    for _ in range(5):
        await c.append_types("a")
    async with AsyncExitStack() as stack:
        of_killed = await stack.enter_async_context(a.stream_all_durable("killed"))
        of_hung = await stack.enter_async_context(b.stream_all_durable("hung"))
        epochs = [(await stream.started()).lease_epoch for stream in (of_killed, of_hung)]
        old = [await stream.batches(5) for stream in (of_killed, of_hung)]
        assert await a.acknowledge("killed", old[0][1].token) == 2
        after_killed, after_hung = [
            await stack.enter_async_context(c.stream_all_durable(name, wait=True))
            for name in ("killed", "hung")
        ]
        for waiting in (after_killed, after_hung):
            assert isinstance(await waiting.next(), Waiting)

        killed.kill()
        hung.send(signal.SIGSTOP)
        started = await asyncio.gather(lease(after_killed, 20), lease(after_hung, 20))
        hung.send(signal.SIGCONT)
        assert [each.after for each in started] == [2, 0]
        assert min(each.lease_epoch for each in started) > max(epochs)
        assert [batch.last for batch in await after_killed.batches(3)] == [3, 4, 5]
        new = await after_hung.batches(5)
        assert [batch.last for batch in new] == [1, 2, 3, 4, 5]

        # The one that hung still believes that it holds its lease.
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await b.acknowledge("hung", old[1][4].token)
        assert (await of_hung.ended()).reason == "DURABLE_STREAM_LEASE_LOST"
        with refused("DURABLE_STREAM_LEASE_LOST"):
            await c.acknowledge("killed", old[0][4].token)
        assert [(await c.durable(name)).cursor for name in ("killed", "hung")] == [2, 0]
        assert await b.acknowledge("hung", new[0].token) == 1


# Many at once.


@dataclass
class Lease:
    """A consumer's time, as it saw it itself. Orders are places in one sequence of what happened."""

    name: str
    epoch: int
    begun_after: int
    begun: int
    ended: int = 0
    cursors: list[int] = field(default_factory=list)
    """What its acknowledgements were answered, in turn."""


class Contest:
    """Consumers that compete for names at two servers, acknowledge at either, and leave in all ways."""

    NAMES = ("one", "another")

    def __init__(self, two: Two, head: int, seed: int) -> None:
        self.leases: list[Lease] = []
        self.done: set[str] = set()
        self.refused = 0
        """Old tokens that were not taken."""
        self._two = two
        self._head = head
        self._seed = seed
        self._happened = 0
        self._old: dict[str, list[tuple[int, Batch]]] = defaultdict(list)

    def _now(self) -> int:
        self._happened += 1
        return self._happened

    async def consume(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        while left := [name for name in self.NAMES if name not in self.done]:
            name = chance.choice(left)
            server = chance.choice(self._two)
            stream = server.stream_all_durable(name, wait=True, window=chance.choice((0, 1, 5)))
            try:
                await self._hold(stream, name, chance)
            finally:
                await stream.close()

    async def _hold(self, stream: Stream, name: str, chance: random.Random) -> None:
        item: Item = await stream.next()
        while not isinstance(item, Started):
            if chance.random() < 0.1:
                return  # Has waited long enough.
            item = await stream.next()
        lease = Lease(name, item.lease_epoch, item.after, self._now())
        self.leases.append(lease)
        cursor = item.after
        for _ in range(chance.randint(0, 8)):
            if cursor == self._head:
                self.done.add(name)
                break
            [batch] = await stream.batches(1)
            assert batch.first == cursor + 1
            cursor = batch.last
            self._old[name].append((lease.epoch, batch))
            if chance.random() < 0.3:
                await self._acknowledge_old(lease, chance)
            lease.cursors.append(await chance.choice(self._two).acknowledge(name, batch.token))
        lease.ended = self._now()
        if chance.random() < 0.5:
            await self._acknowledge_old(lease, chance)

    async def _acknowledge_old(self, lease: Lease, chance: random.Random) -> None:
        """One from before must change nothing."""
        epoch, batch = chance.choice(self._old[lease.name] or [(0, Batch(0, 0, ()))])
        if epoch == lease.epoch or not epoch:
            return
        with pytest.raises(Failure) as caught:
            await chance.choice(self._two).acknowledge(lease.name, batch.token)
        assert caught.value.reason == "DURABLE_STREAM_LEASE_LOST"
        self.refused += 1


async def test_consumers_that_compete_at_both_servers_never_move_one_cursor_together(two: Two) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    head = (await two.a.append_types("a")).last
    while head < 100:
        head = (await two.a.append_types("a")).last
    contest = Contest(two, head, seed)
    await asyncio.gather(*map(contest.consume, range(6)))
    assert contest.refused > 0
    epochs = [lease.epoch for lease in contest.leases]
    assert len(set(epochs)) == len(epochs)
    for name in Contest.NAMES:
        leases = sorted((lease for lease in contest.leases if lease.name == name), key=lambda it: it.epoch)
        assert len(leases) > 5
        cursor = 0
        for before, after in pairwise(leases):
            assert before.ended < after.begun, "one at a time, in the order of their epochs"
        for lease in leases:
            assert lease.begun_after == cursor, lease
            # All batches are of one fact.
            assert lease.cursors == list(range(cursor + 1, cursor + 1 + len(lease.cursors)))
            cursor += len(lease.cursors)
        assert cursor == head
        assert (await two.b.durable(name)).cursor == head
