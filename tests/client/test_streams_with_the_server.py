"""Streams through the deaths and restarts of a real server: nothing is lost, and nothing repeated that was done."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Event

import pytest

import factstr
from tests.client.server_process import Server

FACTS = 1_500
NAME = "inventory"
EVEN = factstr.where("even")


def append_all(target: str) -> None:
    """Append numbered facts in batches of 1 to 7, each once, however long the server is away."""
    with factstr.connect(target, retries=factstr.Retries(limit=1_000)) as store:
        number, size = 0, 1
        while number < FACTS:
            batch = range(number, min(number + size, FACTS))
            events = [factstr.Event("odd" if n % 2 else "even", n) for n in batch]
            store.append(events, idempotency_key=f"batch-{number}")
            number, size = number + size, size % 7 + 1


def interruptions(server: Server) -> dict[int, Callable[[], object]]:
    """What befalls the server when a reader has come to a fact."""

    def killed() -> None:
        server.kill()
        server.start()

    def stopped() -> None:
        server.stop()
        server.start()

    return {FACTS // 3: killed, FACTS * 2 // 3: stopped}


def test_a_live_stream_goes_on_through_deaths_and_restarts_of_the_server(server: Server) -> None:
    befalls = interruptions(server)
    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool, factstr.connect(server.target) as store:
        appending = pool.submit(append_all, server.target)
        with store.stream_all(after=0) as stream:
            for batch in stream:
                seen += [record.sequence_number for record in batch.event_records]
                assert stream.position == batch.last_sequence_number == seen[-1]
                for number in [number for number in befalls if number <= seen[-1]]:
                    befalls.pop(number)()
                if seen[-1] == FACTS:
                    break
        appending.result()
    assert seen == list(range(1, FACTS + 1))


async def test_an_asyncio_stream_goes_on_through_deaths_and_restarts_of_the_server(server: Server) -> None:
    befalls = interruptions(server)
    seen: list[int] = []
    async with factstr.aio.connect(server.target) as store:
        appending = asyncio.create_task(asyncio.to_thread(append_all, server.target))
        async with await store.stream_to(EVEN, after=0) as stream:
            async for batch in stream:
                seen += [record.payload for record in batch.event_records]
                for number in [number for number in befalls if number <= seen[-1]]:
                    await asyncio.to_thread(befalls.pop(number))
                if seen[-1] == FACTS - 2:
                    break
        await appending
    assert seen == list(range(0, FACTS, 2))


def test_a_projection_goes_on_through_deaths_and_restarts_of_the_server(server: Server) -> None:
    befalls = interruptions(server)
    seen: list[int] = []

    def handle(batch: factstr.DurableBatch) -> None:
        seen.extend(record.payload for record in batch.event_records)
        for number in [number for number in befalls if number <= seen[-1]]:
            befalls.pop(number)()
        if seen[-1] == FACTS - 2:
            raise EOFError

    with ThreadPoolExecutor(1) as pool, factstr.connect(server.target) as store:
        appending = pool.submit(append_all, server.target)
        with pytest.raises(EOFError):
            store.project(NAME, EVEN, handle)
        appending.result()
        assert seen == list(range(0, FACTS, 2))
        # All but the batch that the handler failed at.
        assert FACTS - 20 < store.durable_stream(NAME).cursor < FACTS
        rest: list[factstr.DurableBatch] = []
        store.project(NAME, EVEN, rest.append, stop_when_caught_up=True)
        assert [record.payload for batch in rest for record in batch.event_records][-1] == FACTS - 2
        assert len(rest) == 1


def test_a_consumer_that_waits_for_its_turn_does_so_through_deaths_and_restarts_of_the_server(
    server: Server,
) -> None:
    waits = Event()
    with (
        ThreadPoolExecutor(1) as pool,
        factstr.connect(server.target) as store,
        # Without repetitions: whoever has been told to wait lasts as long as one whose turn it is.
        factstr.connect(server.target, retries=factstr.Retries(limit=0)) as patient,
        store.stream_to_durable(NAME, EVEN),
    ):
        standby = pool.submit(
            lambda: patient.stream_to_durable(
                NAME, EVEN, wait_for_lease=True, on_waiting=lambda _: waits.set()
            )
        )
        assert waits.wait(20)
        server.stop()
        server.start()
        with standby.result(40) as batches:
            assert batches.lease_epoch > 1


def test_a_consumer_that_leaves_makes_room_at_once(server: Server) -> None:
    with factstr.connect(server.target, retries=factstr.Retries(first_delay=0.01)) as store:
        store.append([factstr.Event("even", 0)])
        epochs = []
        for _ in range(30):
            with store.stream_to_durable(NAME, EVEN) as batches:
                epochs.append(batches.lease_epoch)
        assert epochs == sorted(set(epochs))
        assert store.reset_durable_stream(NAME, 1).cursor == 1
        store.stream_to_durable(NAME, EVEN).close()
        store.delete_durable_stream(NAME)
        assert list(store.durable_streams()) == []


def test_a_consumer_is_told_that_its_lease_was_taken(server: Server) -> None:
    with factstr.connect(server.target) as store:
        store.append([factstr.Event("even", 0)])
        with store.stream_to_durable(NAME, EVEN) as batches:
            batch = next(batches)
            with pytest.raises(factstr.DurableStreamActive) as active:
                store.reset_durable_stream(NAME)
            assert active.value.lease_epoch == batches.lease_epoch
            store.reset_durable_stream(NAME, force=True)
            with pytest.raises(factstr.LeaseLost):
                batches.acknowledge(batch)
        with store.stream_to_durable(NAME, EVEN) as batches, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: list(islice(batches, 2)))
            store.delete_durable_stream(NAME, force=True)
            with pytest.raises(factstr.LeaseLost):
                reading.result()


def test_what_was_just_written_is_read_through_a_projection(server: Server) -> None:
    table: set[int] = set()
    with factstr.connect(server.target) as store, ThreadPoolExecutor(1) as pool:
        batches = store.stream_to_durable(NAME, EVEN)
        projecting = pool.submit(
            batches.project, lambda batch: table.update(r.payload for r in batch.event_records)
        )
        for number in range(0, 20, 2):
            committed = store.append([factstr.Event("even", number), factstr.Event("odd", number + 1)])
            waited = store.await_durable_stream(NAME, committed.last_sequence_number)
            assert waited.reached
            assert waited.cursor >= committed.last_sequence_number
            assert number in table
        assert not store.await_durable_stream(NAME, 1_000, timeout=0.01).reached
        batches.close()
        projecting.result()


async def test_the_asyncio_store_agrees_with_the_server_about_durable_streams(server: Server) -> None:
    async with factstr.aio.connect(server.target) as store:
        await store.append([factstr.Event("even", 0), factstr.Event("odd", 1)])
        with pytest.raises(factstr.CursorAheadOfLog) as ahead:
            await store.stream_all(after=3)
        assert (ahead.value.asked_for, ahead.value.head_sequence_number) == (3, 2)
        async with await store.stream_all_durable(NAME, start=1) as batches:
            batch = await anext(batches)
            assert [record.payload for record in batch.event_records] == [1]
            assert await batches.acknowledge(batch) == 2
        with pytest.raises(factstr.QueryMismatch):
            await store.stream_to_durable(NAME, EVEN)
        [info] = [info async for info in store.durable_streams(NAME)]
        assert (info.query, info.cursor, info.lag_events) == (factstr.everything(), 2, 0)
        assert info.acknowledged_at is not None
