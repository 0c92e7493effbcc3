"""Streams of a store that fails, does not say what it has committed, or takes its time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import outcome_unknown, store_corrupt, store_unavailable
from factstr_server.contract.query import CompiledQuery
from factstr_server.server import Server, StartupError
from factstr_server.settings import Settings
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import Advance, BatchPage, BatchWindow, Outcome, Store, StoreOptions
from factstr_server.stores.stream_protocol import AcquireOutcome, Acquisition
from tests.conformance.driver import Options, of_type, refused
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, eventually
from tests.conformance.wire import Wire
from tests.service.conftest import serving
from tests.service.wrapping_store import FailingStore, WrappingStore

BEATING = Options(heartbeat_interval=timedelta(milliseconds=200))


class FailingReads(FailingStore):
    """Reads of batches fail too, while there is a failure."""

    failing_batches: Exception | None = None

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        if self.failing_batches:
            raise self.failing_batches
        return await super().read_batches(query, window)


async def test_a_server_whose_store_fails_while_it_starts_says_so_in_one_line() -> None:
    store = FailingStore(MemoryStore(StoreOptions()))
    store.failing_reads = store_unavailable("it sleeps")
    with pytest.raises(StartupError, match=r"^the store does not answer \(it sleeps\)"):
        await Server(Settings(store="memory:", listen=("127.0.0.1:0",)), store).start()


READ_FAILURES: list[tuple[Callable[[], Exception], str, str]] = [
    (lambda: store_unavailable("it sleeps"), "STORE_UNAVAILABLE", "UNAVAILABLE"),
    (lambda: store_corrupt("two heads"), "STORE_CORRUPT", "DATA_LOSS"),
    (lambda: ZeroDivisionError("secret"), "INTERNAL", "INTERNAL"),
]


@pytest.mark.parametrize(("make", "reason", "code"), READ_FAILURES, ids=[row[1] for row in READ_FAILURES])
async def test_a_stream_that_the_store_fails_ends_with_the_reason_and_its_lease_is_free(
    make: Callable[[], Exception], reason: str, code: str
) -> None:
    async with serving(FailingReads) as (server, store):
        await server.append_types("a")
        server.server.log._dispatcher.tail.begin_after(1)
        store.failing_batches = make()
        for stream in (
            server.stream_all(0),
            server.stream_to(of_type("a"), 0),
            server.stream_all_durable("s"),
        ):
            async with stream:
                await stream.started()
                failure = await stream.ended()
                assert (failure.reason, failure.code) == (reason, code)
                assert "secret" not in failure.message
        store.failing_batches = None
        await eventually(lambda: server.durable("s"), lambda it: not it.active)
        async with server.stream_all_durable("s") as stream:
            [batch] = await stream.batches(1)
            assert await server.acknowledge("s", batch.token) == 1


class Uncertain(FailingReads):
    """The next commit is made, and its outcome is not told."""

    lose: Exception | None = None

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        outcomes = await super().commit(group)
        if self.lose:
            lost, self.lose = self.lose, None
            raise lost
        return outcomes


@pytest.mark.parametrize(
    "make", [outcome_unknown, lambda: ZeroDivisionError("secret")], ids=["unknown", "defect"]
)
@pytest.mark.parametrize(
    "head_fails",
    [None, store_unavailable("not now"), ZeroDivisionError("secret")],
    ids=["head known", "head unknown at first", "head defective at first"],
)
async def test_facts_of_a_commit_whose_outcome_is_unknown_reach_the_streams_once(
    make: Callable[[], Exception], head_fails: Exception | None
) -> None:
    async with serving(Uncertain) as (server, store):
        await server.append_types("a")
        async with (
            server.stream_all() as live,
            server.stream_to(of_type("b")) as filtered,
            server.stream_all_durable("s") as durable,
            server.stream_all(0) as replayed,
        ):
            for stream in (live, filtered, durable, replayed):
                await stream.next_of(CaughtUp)
            store.lose = make()
            store.failing_reads = head_fails
            with pytest.raises(Exception):  # noqa: B017, PT011
                await server.append_types("b", "b")
            store.failing_reads = None
            for stream in (live, filtered, durable, replayed):
                [batch] = await stream.batches(1)
                assert batch.shape == (2, 3, [2, 3])
            await server.append_types("b")
            for stream in (live, filtered, durable, replayed):
                [batch] = await stream.batches(1)
                assert batch.shape == (4, 4, [4])


async def test_facts_of_an_unknown_commit_are_in_order_with_those_appended_right_after_it() -> None:
    async with serving(Uncertain) as (server, store), server.stream_all() as stream:
        await stream.next_of(CaughtUp)
        for number in range(20):
            store.lose = outcome_unknown()
            if number % 2:
                # Nobody can say where the log ends before the next commit is told to the streams.
                store.failing_reads = store_unavailable("not now")
            with refused("APPEND_OUTCOME_UNKNOWN"):
                await server.append_types("a", "b")
            await server.append_types("c")
            store.failing_reads = None
            first = 3 * number + 1
            assert [batch.shape for batch in await stream.batches(2)] == [
                (first, first + 1, [first, first + 1]),
                (first + 2, first + 2, [first + 2]),
            ]


class ResetMeanwhile(WrappingStore):
    """Somebody resets a durable stream in the moment in which its lease is given."""

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        outcome = await super().acquire(acquisition)
        await self.inner.reset(acquisition.durable_stream, 0, force=True)
        return outcome


async def test_a_lease_that_is_lost_before_its_stream_begins_is_told_to_the_consumer() -> None:
    async with serving(ResetMeanwhile) as (server, _):
        async with server.stream_all_durable("s") as stream:
            with refused("DURABLE_STREAM_LEASE_LOST"):
                await stream.next()
        assert not (await server.durable("s")).active


class SlowReads(FailingReads):
    """Reads of batches wait at a gate."""

    gate: asyncio.Event | None = None

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        page = await super().read_batches(query, window)
        if self.gate:
            await self.gate.wait()
        return page


async def test_a_replay_that_finds_nothing_for_long_sends_checkpoints_and_then_goes_on() -> None:
    stores: list[SlowReads] = []

    def wrapped(store: Store) -> Store:
        stores.append(SlowReads(store))
        return stores[-1]

    async with Wire("memory:", BEATING._replace(wrap=wrapped)) as server:
        await server.append_types("b", "a")
        server.server.log._dispatcher.tail.begin_after(2)
        stores[0].gate = asyncio.Event()
        async with (
            server.stream_to(of_type("a"), 0) as stream,
            server.stream_to_durable("s", of_type("a")) as other,
        ):
            for each in (stream, other):
                await each.started()
                assert await each.next() == Checkpoint(0)
                assert await each.next() == Checkpoint(0)
            stores[0].gate.set()
            for each in (stream, other):
                assert (await each.next_of(Batch)).shape == (1, 2, [2])
