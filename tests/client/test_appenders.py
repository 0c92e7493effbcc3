"""An appender sends what waits together, and each append is committed or fails by itself: both appenders, one law."""

import asyncio
import threading
from contextlib import ExitStack

import grpc
import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.appending import DRAINING, LOST, Held, Pending, Store, event, numbers
from tests.client.fake_server import FakeServer, Refusal
from tests.waiting import wait_until

FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", "STORE_FULL")
CLOSED = "the appender is closed"


def test_appends_are_committed_in_order_and_each_knows_its_numbers(
    fake: FakeServer, appending: Store
) -> None:
    with appending.appender() as appender:
        pending = [appender.append([event(n), event(n)]) for n in range(100)]
    assert all(append.done() for append in pending)
    assert [append.result().first_sequence_number for append in pending] == list(range(1, 200, 2))
    assert numbers(fake) == [n for n in range(100) for _ in range(2)]


def test_what_waits_goes_as_one_message(fake: FakeServer, appending: Store) -> None:
    fake.instead = [DRAINING]
    held = Held(fake)
    with appending.appender() as appender:
        for n in range(50):
            appender.append(event(n))
        held.arrived.wait(30)
        held.may_go_on.set()
    assert numbers(fake) == list(range(50))
    assert max(fake.packed) == 50, "all of them, after the server has ended the call"


def test_nothing_waits_for_more(fake: FakeServer, appending: Store) -> None:
    with appending.appender() as appender:
        for n in range(3):
            assert appender.append(event(n)).result().first_sequence_number == n + 1


def test_a_refused_append_fails_alone(fake: FakeServer, appending: Store) -> None:
    fake.store(("a", -1))
    with appending.appender() as appender:
        before = appender.append(event(0))
        conflict = appender.append_if(event(1), factstr.where("a"), 1)
        invalid = appender.append(factstr.Event("a", factstr.JsonText("{")))
        fresh = appender.append_if(event(2), factstr.where("a"), 2)
        assert isinstance(invalid.exception(), factstr.InvalidRequest)
        error = conflict.exception()
    assert isinstance(error, factstr.ConditionalAppendConflict)
    assert (error.expected, error.actual) == (1, 2)
    assert (before.result().first_sequence_number, fresh.result().first_sequence_number) == (2, 3)
    assert numbers(fake) == [-1, 0, 2]


def test_leaving_the_block_raises_a_failure_that_nobody_has_looked_at(
    fake: FakeServer, appending: Store
) -> None:
    with ExitStack() as block:
        appender = block.enter_context(appending.appender())
        appender.append_if(event(0), factstr.where("b"), 7)
        appender.append(event(1))
        with pytest.raises(factstr.ConditionalAppendConflict):
            block.close()
    assert numbers(fake) == [1]


def test_a_failure_that_was_looked_at_is_not_raised_again(fake: FakeServer, appending: Store) -> None:
    with appending.appender() as appender:
        refused = appender.append_if(event(0), factstr.where("b"), 7)
        with pytest.raises(factstr.ConditionalAppendConflict):
            refused.result()
    assert fake.records == []


def test_when_there_is_no_room_the_next_append_waits(fake: FakeServer, appending: Store) -> None:
    held = Held(fake)
    put: list[Pending] = []
    with appending.appender(max_unanswered=3) as appender:

        def fill() -> None:
            put.extend(appender.append(event(n)) for n in range(5))

        thread = threading.Thread(target=fill)
        thread.start()
        held.arrived.wait(30)
        wait_until(lambda: len(put) == 3, "three are put")
        thread.join(0.2)
        assert (thread.is_alive(), len(put)) == (True, 3)
        held.may_go_on.set()
        thread.join()
    assert numbers(fake) == list(range(5))


@pytest.mark.parametrize("failure", [LOST, DRAINING])
def test_appends_with_a_key_go_over_interruptions(
    fake: FakeServer, appending: Store, failure: Refusal
) -> None:
    fake.instead = [None, failure, None, None, failure, failure]
    with appending.appender() as appender:
        for n in range(20):
            appender.append(event(n), idempotency_key=f"k{n}")
    assert numbers(fake) == list(range(20))


def test_appends_without_a_key_go_over_what_certainly_committed_nothing(
    fake: FakeServer, appending: Store
) -> None:
    # Often enough that some of them meet a write on its way, which grpc.aio takes for a failure of its own.
    fake.instead = [None, DRAINING] * 50
    with appending.appender() as appender:
        for n in range(100):
            appender.append(event(n))
    assert numbers(fake) == list(range(100))


def test_an_append_without_a_key_is_in_doubt_after_a_lost_connection(
    fake: FakeServer, appending: Store
) -> None:
    fake.instead = [LOST]
    with appending.appender() as appender:
        lost = appender.append(event(0))
        assert isinstance(lost.exception(), factstr.OutcomeUnknown)
        assert appender.append(event(1)).result().first_sequence_number == 1
    assert numbers(fake) == [1]


def test_a_server_that_ends_while_nobody_waits_is_gone_over(fake: FakeServer, appending: Store) -> None:
    fake.end_append_stream_with = DRAINING
    with appending.appender() as appender:
        for n in range(10):
            appender.append(event(n)).result()
    assert numbers(fake) == list(range(10))


def test_a_server_that_will_not_take_them_fails_all_and_the_appender_goes_on(
    fake: FakeServer, appending: Store
) -> None:
    fake.instead = [FULL]
    with appending.appender() as appender:
        assert isinstance(appender.append(event(0)).exception(), factstr.StoreFull)
        appender.append(event(1))
    assert numbers(fake) == [1]


def test_a_server_that_answers_nothing_is_given_up_after_the_timeout(
    fake: FakeServer, appending: Store
) -> None:
    held = Held(fake)
    with appending.appender(timeout=0.5) as appender:
        error = appender.append(event(0)).exception()
        held.may_go_on.set()
    assert isinstance(error, factstr.OutcomeUnknown)
    assert (error.code, "answered nothing within the timeout" in error.message) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        True,
    )


def test_an_exception_in_the_block_ends_the_appender_at_once(fake: FakeServer, appending: Store) -> None:
    held = Held(fake)
    appender = appending.appender()
    entered = appender.__enter__()
    sent = entered.append(event(0))
    held.arrived.wait(30)
    error = KeyError("mine")
    assert not appender.__exit__(KeyError, error, None)
    assert isinstance(sent.exception(), factstr.OutcomeUnknown)
    held.may_go_on.set()


def test_what_comes_after_the_end_is_refused(fake: FakeServer, appending: Store) -> None:
    with appending.appender() as appender:
        appender.append(event(0))
    appender.close()
    appender.cancel()
    with pytest.raises(factstr.StoreClosed, match=CLOSED):
        appender.append(event(1))
    assert numbers(fake) == [0]


def test_an_appender_that_appended_nothing_calls_nobody(fake: FakeServer, appending: Store) -> None:
    with appending.appender():
        pass
    assert fake.requests == []


@pytest.mark.parametrize("max_unanswered", [0, -1])
def test_an_appender_without_any_room_is_refused(appending: Store, max_unanswered: int) -> None:
    with pytest.raises(ValueError, match="max_unanswered is"):
        appending.appender(max_unanswered=max_unanswered)


def test_what_fits_into_no_message_is_refused_when_it_is_put(fake: FakeServer, appending: Store) -> None:
    with appending.appender() as appender:
        with pytest.raises(factstr.BatchTooLarge):
            appender.append(factstr.Event("a", factstr.JsonText('"' + "x" * (16 * 2**20 - 40) + '"')))
        with pytest.raises(TypeError):
            appender.append("no event")
    assert fake.seen(event_store_service_pb2.AppendRequest) == []


def test_several_threads_share_an_appender(fake: FakeServer, store: factstr.EventStore) -> None:
    results: list[int] = []

    def work(appender: factstr.Appender) -> None:
        mine = [appender.append(event(n)) for n in range(100)]
        results.extend(append.result().first_sequence_number for append in mine)

    with store.appender(max_unanswered=50) as appender:
        threads = [threading.Thread(target=work, args=[appender]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(1, 401))


def test_a_callback_may_append(fake: FakeServer, store: factstr.EventStore) -> None:
    with store.appender(max_unanswered=1) as appender:
        done = threading.Event()

        def once_more(_: object) -> None:
            appender.append(event(1))
            appender.append(event(2))
            done.set()

        appender.append(event(0)).add_done_callback(once_more)
        assert done.wait(30)
    assert numbers(fake) == [0, 1, 2]


async def test_a_task_that_is_cancelled_while_it_waits_leaves_the_append_on_its_way(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    async with aio_store.appender() as appender:
        first = await appender.append(event(0))
        first.cancel()
        await (await appender.append(event(1)))
    assert numbers(fake) == [0, 1]


async def test_a_task_that_is_cancelled_while_it_leaves_ends_the_appender(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    held = Held(fake)
    appender = aio_store.appender()
    sent = await appender.append(event(0))
    await asyncio.to_thread(held.arrived.wait, 30)
    leaving = asyncio.create_task(appender.close())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(factstr.OutcomeUnknown):
        await sent
    held.may_go_on.set()
