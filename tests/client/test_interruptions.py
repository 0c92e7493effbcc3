"""Who reads a stream can be told that it is interrupted and that it goes on: once each, in the reader's thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any, TypeAlias

import pytest

import factstr
from tests.client.fake_server import busy
from tests.client.fake_streams import (
    LOST,
    SILENCE,
    Cursor,
    Step,
    StreamingServer,
    durable_batches,
    durable_started,
    lease_waiting,
    live_batches,
    live_started,
)
from tests.client.test_durable_streams import DIVERGED, NAME, QUERY, played

Open: TypeAlias = Callable[[Any, factstr.OnInterruption], Any]

LIVE: list[Sequence[Step]] = [
    [live_started(), live_batches((1, 1)), LOST],
    [LOST],
    [LOST],
    [live_started(1), live_batches((2, 2)), SILENCE],
]
DURABLE: list[Sequence[Step]] = [
    [durable_started(0, 1), durable_batches(1, (1, 1)), LOST],
    [LOST],
    [lease_waiting(1), LOST],
    [lease_waiting(1), durable_started(1, 2), durable_batches(2, (2, 2)), SILENCE],
]

every_stream = pytest.mark.parametrize(
    ("open_stream", "calls"),
    [
        (lambda store, told: store.stream_all(after=0, on_interruption=told), LIVE),
        (lambda store, told: store.stream_to(QUERY, after=0, on_interruption=told), LIVE),
        (lambda store, told: store.stream_all_durable(NAME, on_interruption=told), DURABLE),
        (lambda store, told: store.stream_to_durable(NAME, QUERY, on_interruption=told), DURABLE),
    ],
    ids=["all", "to", "all durable", "to durable"],
)


class Told:
    """Remembers what it was called with, and in which threads."""

    def __init__(self) -> None:
        self.errors: list[factstr.FactstrError | None] = []
        self.threads: set[int] = set()

    def __call__(self, error: factstr.FactstrError | None) -> None:
        self.errors.append(error)
        self.threads.add(get_ident())

    @property
    def kinds(self) -> list[type[factstr.FactstrError] | None]:
        return [None if error is None else type(error) for error in self.errors]


@pytest.fixture
def told() -> Told:
    return Told()


@every_stream
def test_an_interruption_is_told_once_and_its_end_once_by_whoever_reads(
    fake: StreamingServer,
    store: factstr.EventStore,
    told: Told,
    open_stream: Open,
    calls: list[Sequence[Step]],
) -> None:
    fake.play = list(calls)
    with ThreadPoolExecutor(1) as pool, open_stream(store, told) as stream:
        reader = pool.submit(get_ident).result()
        assert pool.submit(next, stream).result().last_sequence_number == 1
        assert told.errors == []
        assert pool.submit(next, stream).result().last_sequence_number == 2
    assert (told.kinds, told.threads) == ([factstr.Unavailable, None], {reader})


@every_stream
async def test_asyncio_tells_an_interruption_once_and_its_end_once(
    fake: StreamingServer,
    aio_store: factstr.aio.EventStore,
    told: Told,
    open_stream: Open,
    calls: list[Sequence[Step]],
) -> None:
    fake.play = list(calls)
    async with await open_stream(aio_store, told) as stream:
        assert (await anext(stream)).last_sequence_number == 1
        assert told.errors == []
        assert (await anext(stream)).last_sequence_number == 2
    assert (told.kinds, told.threads) == ([factstr.Unavailable, None], {get_ident()})


def test_every_interruption_is_told(fake: StreamingServer, store: factstr.EventStore, told: Told) -> None:
    again: list[Step] = [live_started(), LOST]
    fake.play = [again, again, [live_started(), live_batches((1, 1)), SILENCE]]
    with store.stream_all(after=0, on_interruption=told) as stream:
        next(stream)
    assert told.kinds == [factstr.Unavailable, None] * 2


def test_who_is_told_that_a_stream_goes_on_finds_where(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    positions: list[int] = []
    fake.play = list(LIVE)
    with store.stream_all(after=0, on_interruption=lambda _: positions.append(stream.position)) as stream:
        assert [next(stream).last_sequence_number, next(stream).last_sequence_number] == [1, 2]
    assert positions == [1, 1]


def test_an_interruption_is_told_before_it_is_waited_out(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    def leave(error: factstr.FactstrError | None) -> None:
        told(error)
        stream.close()

    fake.play = [[live_started(), busy(600)]]
    stream = store.stream_all(on_interruption=leave)
    assert list(stream) == []
    assert told.kinds == [factstr.ServerBusy]


async def test_asyncio_tells_an_interruption_before_it_is_waited_out(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    def leave(error: factstr.FactstrError | None) -> None:
        raise LookupError(error)

    fake.play = [[live_started(), busy(600)]]
    async with await aio_store.stream_all(on_interruption=leave) as stream:
        with pytest.raises(LookupError, match="the queue is full"):
            await anext(stream)


def test_what_the_callback_raises_goes_to_the_reader_who_can_read_on(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    def refuse(error: factstr.FactstrError | None) -> None:
        told(error)
        raise LookupError(error)

    fake.play = [*LIVE, LIVE[-1]]
    with store.stream_all(after=0, on_interruption=refuse) as stream:
        next(stream)
        for message in ("connection lost", "None"):
            with pytest.raises(LookupError, match=message):
                next(stream)
        assert next(stream).last_sequence_number == 2
    assert told.kinds == [factstr.Unavailable, None]


def test_a_stream_that_has_neither_begun_nor_waits_for_its_turn_is_not_interrupted(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    fake.play = [[LOST], [lease_waiting(1), LOST], [durable_started(0, 2), SILENCE]]
    store.stream_all_durable(NAME, wait_for_lease=True, on_interruption=told).close()
    assert told.kinds == [factstr.Unavailable, None], "only while it waited"


def test_what_ends_a_stream_is_raised_and_not_told(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    fake.play = [[durable_started(0, 1), LOST], [DIVERGED]]
    with store.stream_all_durable(NAME, on_interruption=told) as batches, pytest.raises(factstr.LogDiverged):
        next(batches)
    assert told.kinds == [factstr.Unavailable]


def test_what_is_given_up_at_once_is_raised_and_not_told(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    fake.play = [[live_started(), LOST]]
    with (
        store.stream_all(give_up_after=0, on_interruption=told) as stream,
        pytest.raises(factstr.Unavailable),
    ):
        next(stream)
    assert told.errors == []


@pytest.mark.parametrize("ending", [LOST, durable_batches(1, (2, 2))], ids=["lost too", "unharmed"])
def test_an_interruption_that_an_acknowledgement_meets_first_is_told_once_until_the_stream_shows_life(
    fake: StreamingServer, store: factstr.EventStore, told: Told, ending: Step
) -> None:
    first: list[Step] = [durable_started(0, 1), durable_batches(1, (1, 1)), ending, SILENCE]
    played(fake, first, DURABLE[-1])
    with store.stream_to_durable(NAME, QUERY, on_interruption=told) as batches:
        batch = next(batches)
        fake.instead = [LOST, LOST]
        assert batches.acknowledge(batch) == 1
        assert told.kinds == [factstr.Unavailable]
        assert next(batches).last_sequence_number == 2
    assert told.kinds == [factstr.Unavailable, None]


async def test_asyncio_tells_an_interruption_that_an_acknowledgement_meets_first_once(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, told: Told
) -> None:
    played(fake, DURABLE[0], DURABLE[-1])
    async with await aio_store.stream_to_durable(NAME, QUERY, on_interruption=told) as batches:
        batch = await anext(batches)
        fake.instead = [LOST, LOST]
        assert await batches.acknowledge(batch) == 1
        assert (await anext(batches)).last_sequence_number == 2
    assert told.kinds == [factstr.Unavailable, None]


def test_what_another_thread_acknowledges_tells_the_reader_nothing(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    fake.commit("1")
    with (
        store.stream_to_durable(NAME, QUERY, on_interruption=told) as batches,
        ThreadPoolExecutor(1) as pool,
    ):
        batch = next(batches)
        fake.instead = [LOST]
        assert pool.submit(batches.acknowledge, batch).result() == 1
    assert told.errors == []


def interrupted_projection(fake: StreamingServer) -> None:
    fake.commit("1")
    fake.commit("2")
    fake.streams[NAME], fake.epoch = Cursor(QUERY.to_proto(), 0, epoch=1), 1
    fake.play = [DURABLE[0]]


def test_a_projection_tells_its_interruptions(
    fake: StreamingServer, store: factstr.EventStore, told: Told
) -> None:
    interrupted_projection(fake)
    store.project(NAME, QUERY, lambda _: None, stop_when_caught_up=True, on_interruption=told)
    assert (told.kinds, fake.streams[NAME].cursor) == ([factstr.Unavailable, None], 2)


async def test_an_asyncio_projection_tells_its_interruptions(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, told: Told
) -> None:
    interrupted_projection(fake)
    await aio_store.project(NAME, QUERY, lambda _: None, stop_when_caught_up=True, on_interruption=told)
    assert (told.kinds, fake.streams[NAME].cursor) == ([factstr.Unavailable, None], 2)
