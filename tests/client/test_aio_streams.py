"""The asyncio store's streams behave as the synchronous ones, and leave a caller who is cancelled what they have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import factstr
from factstr import resuming
from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2
from tests.client.fake_server import Refusal, busy
from tests.client.fake_streams import (
    END,
    LOST,
    SILENCE,
    StreamingServer,
    caught_up,
    checkpoint,
    durable_batches,
    durable_started,
    live_batches,
    live_started,
)
from tests.client.test_durable_streams import NAME, QUERY, played

LAST = "what the iteration of a closed stream ends with"


async def numbers(stream: AsyncIterator[factstr.CommittedBatch], count: int) -> list[int]:
    return [r.sequence_number for _ in range(count) for r in (await anext(stream)).event_records]


async def test_a_replay_goes_on_live(fake: StreamingServer, aio_store: factstr.aio.EventStore) -> None:
    fake.commit("1", "2")
    async with await aio_store.stream_all(after=1) as stream:
        assert (await numbers(stream, 1), stream.position) == ([2], 2)
        await aio_store.append(factstr.Event("a", 3))
        assert await numbers(stream, 1) == [3]


async def test_a_filtered_stream_asks_for_its_query(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    async with await aio_store.stream_to(QUERY) as stream:
        await aio_store.append([factstr.Event("b", 1), factstr.Event("a", 2)])
        assert await numbers(stream, 1) == [2]
    [request] = fake.seen(event_store_service_pb2.StreamToRequest)
    assert (request.query, request.HasField("after_sequence_number")) == (QUERY.to_proto(), False)


@pytest.mark.parametrize(
    "interruption",
    [LOST, END, busy(), Refusal(grpc.StatusCode.CANCELLED, "a proxy's mood")],
    ids=["lost", "ended", "busy", "cancelled"],
)
async def test_after_an_interruption_that_may_pass_a_stream_goes_on_where_it_was(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, interruption: Refusal | str
) -> None:
    fake.play = [
        [live_started(), live_batches((1, 1), (2, 3)), checkpoint(5), interruption],
        [interruption],
        [live_started(5), live_batches((6, 6)), caught_up(6), SILENCE],
    ]
    async with await aio_store.stream_all(after=0) as stream:
        assert [b.last_sequence_number async for b in stream.until_caught_up()] == [1, 3, 6]
        assert stream.caught_up == 6
    asked = [r.after_sequence_number for r in fake.seen(event_store_service_pb2.StreamAllRequest)]
    assert asked == [0, 5, 5]


async def test_what_will_not_pass_is_raised_once_and_ends_the_stream(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    other = live_started(1, history_id="history-2")
    fake.play = [[live_started(), live_batches((1, 1)), LOST], [other, SILENCE]]
    async with await aio_store.stream_all(after=0) as stream:
        assert await numbers(stream, 1) == [1]
        with pytest.raises(factstr.LogDiverged):
            await anext(stream)
        assert [batch async for batch in stream] == []


async def test_a_stream_that_cannot_be_opened_says_why(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    with pytest.raises(factstr.CursorAheadOfLog):
        await aio_store.stream_all(after=5)
    fake.play = [[LOST]] * (1 + factstr.Retries().limit)
    with pytest.raises(factstr.Unavailable):
        await aio_store.stream_all()


async def test_a_silent_server_is_noticed_and_left(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_GRACE", 0.0)
    heartbeat = Duration(nanos=50_000_000)
    fake.play = [[live_started(heartbeat=heartbeat), live_batches((1, 1)), SILENCE]]
    async with await aio_store.stream_all(after=0) as stream:
        fake.commit("1")
        fake.commit("2")
        assert await numbers(stream, 2) == [1, 2]


async def test_a_silent_server_is_noticed_however_short_each_look_at_it_is(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_GRACE", 0.0)
    heartbeat = Duration(nanos=50_000_000)
    fake.play = [[live_started(heartbeat=heartbeat), SILENCE]]
    async with await aio_store.stream_all(after=0) as stream:
        fake.commit("1")
        async with asyncio.timeout(20):
            while not (found := await polled(stream, 0.02)):
                pass
        assert found.last_sequence_number == 1


async def polled(stream: factstr.aio.LiveStream, seconds: float) -> factstr.CommittedBatch | None:
    with suppress(TimeoutError):
        return await asyncio.wait_for(anext(stream), seconds)
    return None


async def test_who_gives_up_waiting_for_the_head_can_go_on_to_it(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.play = [[live_started(), SILENCE]]
    async with await aio_store.stream_all(after=0) as stream:
        replay = stream.until_caught_up()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(replay), 0.01)
        assert stream.caught_up is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(replay), 0.01)


async def test_two_tasks_do_not_read_one_stream(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    async with await aio_store.stream_all(after=0) as stream:
        reading = asyncio.create_task(numbers(stream, 1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(stream)
        fake.commit("1")
        assert await reading == [1]


async def test_a_caller_who_is_cancelled_loses_neither_the_stream_nor_a_batch(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    async with await aio_store.stream_all_durable(NAME) as batches:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(batches), 0.01)
        fake.commit("1")
        assert await numbers(batches, 1) == [1]
        assert batches.lease_epoch == 1
    assert len(fake.requests) == 1


async def test_a_stream_can_be_closed_under_the_task_that_reads_it(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    stream = await aio_store.stream_all()
    reading = asyncio.ensure_future(anext(stream, LAST))
    await asyncio.sleep(0)
    await stream.close()
    assert await reading == LAST
    await stream.close()
    assert await anext(stream, LAST) == LAST


async def test_a_stream_that_waits_to_be_taken_up_again_can_be_closed(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.play = [[live_started(), busy(600)]]
    stream = await aio_store.stream_all()
    reading = asyncio.ensure_future(anext(stream, LAST))
    await asyncio.sleep(0)
    await stream.close()
    assert await reading == LAST


async def test_a_store_that_is_closed_ends_its_streams_with_a_word(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    stream = await aio_store.stream_all()
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await aio_store.close()
    with pytest.raises(factstr.StoreClosed, match="the store is closed"):
        await reading
    with pytest.raises(factstr.StoreClosed):
        await aio_store.stream_all()


async def test_a_second_consumer_can_wait_for_the_first(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    first = await aio_store.stream_to_durable(NAME, QUERY)
    with pytest.raises(factstr.DurableStreamActive):
        await aio_store.stream_to_durable(NAME, QUERY)
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    waiting = loop.create_task(
        aio_store.stream_to_durable(NAME, QUERY, wait_for_lease=True, on_waiting=lambda _: told.set())
    )
    await told.wait()
    await first.close()
    async with await waiting as second:
        assert second.lease_epoch == first.lease_epoch + 1


async def test_an_interrupted_stream_is_taken_up_under_a_new_lease_after_the_cursor(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    played(
        fake,
        [durable_started(0, 1), durable_batches(1, (1, 1), (2, 2)), LOST],
        [durable_started(1, 2), durable_batches(2, (2, 2)), SILENCE],
    )
    async with await aio_store.stream_to_durable(NAME, QUERY, start=0) as batches:
        first, second = await anext(batches), await anext(batches)
        fake.instead = [LOST, None]
        assert await batches.acknowledge(first) == 1
        again = await anext(batches)
        assert (again.last_sequence_number, again.lease_epoch) == (2, 2)
        assert await batches.acknowledge(second) == 1
        fake.streams[NAME].epoch = 2
        assert await batches.acknowledge(again) == 2
    asked = fake.seen(event_store_service_pb2.StreamToDurableRequest)
    assert [(r.wait_for_lease, r.HasField("start")) for r in asked] == [(False, True), (True, False)]


async def test_a_lease_that_was_taken_acknowledges_nothing(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.commit("1")
    async with await aio_store.stream_all_durable(NAME) as batches:
        batch = await anext(batches)
        await aio_store.reset_durable_stream(NAME, force=True)
        with pytest.raises(factstr.LeaseLost):
            await batches.acknowledge(batch)
        # Another task that reads is told too, once.
        with pytest.raises(factstr.LeaseLost):
            await anext(batches)
        assert await anext(batches, LAST) == LAST


async def test_a_lease_that_was_just_closed_is_in_nobodys_way(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    for _ in range(20):
        await (await aio_store.stream_all_durable(NAME)).close()
    await aio_store.delete_durable_stream(NAME)


async def test_a_handler_may_be_a_function_or_an_async_one(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    done: list[int] = []

    async def slowly(batch: factstr.DurableBatch) -> None:
        await asyncio.sleep(0)
        done.append(batch.last_sequence_number)

    fake.commit("1")
    await aio_store.project(NAME, QUERY, slowly, stop_when_caught_up=True)
    fake.commit("2")
    await aio_store.project(
        NAME, QUERY, lambda b: done.append(b.last_sequence_number), stop_when_caught_up=True
    )
    assert (done, fake.streams[NAME].cursor) == ([1, 2], 2)


async def test_a_failure_of_the_handler_leaves_the_cursor_before_it(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    for payload in "123":
        fake.commit(payload)

    async def fail(batch: factstr.DurableBatch) -> None:
        if batch.last_sequence_number == 3:
            raise LookupError

    with pytest.raises(LookupError):
        await aio_store.project(NAME, QUERY, fail)
    assert fake.streams[NAME].cursor == 2


@pytest.mark.parametrize("by_cancelling", [False, True])
async def test_nothing_that_comes_after_a_failure_is_handled_or_acknowledged_on_the_same_stream(
    fake: StreamingServer, aio_store: factstr.aio.EventStore, *, by_cancelling: bool
) -> None:
    for payload in "123":
        fake.commit(payload)
    done: list[int] = []

    async def fail(batch: factstr.DurableBatch) -> None:
        if batch.last_sequence_number == 2:
            if by_cancelling:
                await asyncio.Event().wait()
            raise LookupError
        done.append(batch.last_sequence_number)

    async with await aio_store.stream_to_durable(NAME, QUERY) as batches:
        with pytest.raises(TimeoutError if by_cancelling else LookupError):
            await asyncio.wait_for(batches.project(fail), 0.2)
        await batches.project(fail)
    assert done == [1]
    assert fake.streams[NAME].cursor == (0 if by_cancelling else 1)


async def test_a_projection_that_is_cancelled_ends_its_stream(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.commit("1")
    handling = asyncio.Event()

    async def hang(batch: factstr.DurableBatch) -> None:
        handling.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(aio_store.project(NAME, QUERY, hang))
    await handling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aio_store.delete_durable_stream(NAME)


async def test_durable_streams_are_listed_looked_at_moved_deleted_and_awaited(
    fake: StreamingServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.commit("1")
    for name in ("a", "b-1", "b-2", "b-3"):
        await (await aio_store.stream_to_durable(name, QUERY)).close()
    assert [info.durable_stream async for info in aio_store.durable_streams("b-")] == ["b-1", "b-2", "b-3"]
    assert (await aio_store.durable_stream("a")).query == QUERY
    assert (await aio_store.reset_durable_stream("a", 1)).cursor == 1
    assert await aio_store.await_durable_stream("a", 1) == factstr.AwaitResult(1, reached=True)
    await aio_store.delete_durable_stream("a")
    with pytest.raises(factstr.DurableStreamNotFound):
        await aio_store.durable_stream("a")
    [request] = fake.seen(durable_stream_service_pb2.AwaitDurableStreamRequest)
    assert 25 < request.timeout.seconds <= 30
