"""The asyncio store behaves as the synchronous one: against a server in this process."""

import asyncio
import gc
from datetime import UTC, datetime

import grpc
import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.fake_server import FakeServer, Refusal, busy

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")


async def numbers(result: factstr.aio.QueryResult) -> list[int]:
    return [record.sequence_number async for record in result]


async def test_what_is_appended_is_read(aio_store: factstr.aio.EventStore) -> None:
    result = await aio_store.append([factstr.Event("a", {"n": 1}, {"k": "v"}), factstr.Event("b", 2)])
    assert (result.first_sequence_number, result.last_sequence_number, result.committed_count) == (1, 2, 2)
    found = await aio_store.query(factstr.where("a"))
    assert found.context_version == 1
    [record] = [record async for record in found]
    assert (record.event_type, record.payload_text, record.metadata) == ("a", '{"n":1}', {"k": "v"})
    assert found.last_returned_sequence_number == 1


async def test_a_conflict_is_raised_with_both_versions(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.store(("a", 1), ("b", 2))
    with pytest.raises(factstr.ConditionalAppendConflict) as raised:
        await aio_store.append_if(factstr.Event("c", 3), factstr.where("a"), 2)
    assert (raised.value.expected, raised.value.actual) == (2, 1)
    assert (
        await aio_store.append_if(factstr.Event("c", 3), factstr.where("a"), 1)
    ).first_sequence_number == 3


async def test_an_append_with_a_key_is_repeated_when_its_outcome_is_unknown(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.instead = [LOST]
    await aio_store.append(factstr.Event("a", 1), idempotency_key="k")
    assert (await aio_store.append(factstr.Event("a", 1), idempotency_key="k")).repeated_request
    assert len(fake.records) == 1


async def test_an_append_without_a_key_is_repeated_with_one_that_is_made_for_it(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.instead = [LOST, None, LOST]
    for _ in range(2):
        assert not (await aio_store.append(factstr.Event("a", 1))).repeated_request
    first, again, second, second_again = fake.seen(event_store_service_pb2.AppendRequest)
    assert first == again != second == second_again
    assert first.idempotency_key
    assert len(fake.records) == 2


async def test_without_retries_an_append_in_doubt_is_not_repeated(fake: FakeServer) -> None:
    fake.instead = [LOST]
    async with factstr.aio.connect(fake.target, retries=factstr.Retries(limit=0)) as store:
        with pytest.raises(factstr.OutcomeUnknown) as raised:
            await store.append(factstr.Event("a", 1))
    assert raised.value.idempotency_key is None
    assert fake.records == []


async def test_a_busy_server_is_asked_again(fake: FakeServer, aio_store: factstr.aio.EventStore) -> None:
    fake.instead = [busy(), busy(), None]
    await aio_store.append(factstr.Event("a", 1))
    assert len(fake.seen(event_store_service_pb2.AppendRequest)) == 3


async def test_the_deadline_bounds_a_call_with_all_its_repetitions(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.instead = [busy(60)]
    with pytest.raises(factstr.ServerBusy):
        await aio_store.append(factstr.Event("a", 1), timeout=5)


async def test_a_large_result_comes_in_parts_and_in_order(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.records_per_message = 7
    fake.store(*(("a", number) for number in range(100)))
    assert await numbers(await aio_store.query()) == list(range(1, 101))
    assert await numbers(await aio_store.query(order="descending", limit=3)) == [100, 99, 98]


async def test_an_interrupted_query_goes_on_within_its_snapshot(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 2, [2, 1]
    result = await aio_store.query()
    fake.store(("a", "later"))
    assert await numbers(result) == list(range(1, 11))
    assert result.context_version == 10


async def test_a_result_that_is_left_early_can_be_closed_again(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message = 1
    async with await aio_store.query() as result:
        assert (await anext(aiter(result))).sequence_number == 1
    await result.close()
    assert await numbers(result) == []


async def test_a_result_that_is_dropped_leaves_nothing_behind(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message = 1
    result = await aio_store.query()
    await anext(aiter(result))
    del result
    # A warning about anything left behind would fail the test.
    gc.collect()
    await asyncio.sleep(0)
    assert (await aio_store.server_info()).head_sequence_number == 10


async def test_a_decision_may_be_a_function_or_an_async_one(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    async def slowly(context: factstr.Context) -> factstr.Event:
        await asyncio.sleep(0)
        return factstr.Event("counted", len(context.records))

    first = await aio_store.decide(factstr.everything(), lambda context: factstr.Event("a", context.version))
    second = await aio_store.decide(factstr.everything(), slowly)
    assert first is not None
    assert second is not None
    assert [record.payload for record in fake.records] == ["null", "1"]


async def test_a_decision_is_made_again_after_a_conflict(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    competitors = iter([("a", 1), ("a", 2)])
    fake.before_append = lambda: fake.store(*([next_] if (next_ := next(competitors, None)) else []))
    contexts: list[int | None] = []

    def decide(context: factstr.Context) -> factstr.Event:
        contexts.append(context.version)
        return factstr.Event("a", "mine")

    result = await aio_store.decide(factstr.where("a"), decide)
    assert result is not None
    assert (contexts, result.first_sequence_number) == ([None, 1, 2], 3)


async def test_a_cancelled_call_stays_cancelled(fake: FakeServer, aio_store: factstr.aio.EventStore) -> None:
    fake.instead = [busy(20)]
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    fake.on_call = lambda: loop.call_soon_threadsafe(arrived.set)
    task = asyncio.ensure_future(aio_store.append(factstr.Event("a", 1)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(fake.requests) == 1


async def test_the_server_describes_itself(fake: FakeServer, aio_store: factstr.aio.EventStore) -> None:
    fake.store(("a", 1))
    info = await aio_store.server_info()
    assert (info.store_kind, info.head_sequence_number) == ("fake", 1)
    moment = datetime.fromtimestamp(1_700_000_002, UTC)
    assert await aio_store.sequence_number_at(moment) == 1
    assert await aio_store.sequence_number_at(datetime(2020, 1, 1, tzinfo=UTC)) == 0
