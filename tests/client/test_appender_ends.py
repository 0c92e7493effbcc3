"""However an appender ends, each append comes to its end, and no failure goes by in silence."""

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

import factstr
from tests.client.appending import DRAINING, Held, Store, event, numbers
from tests.client.fake_server import FakeServer
from tests.waiting import wait_until

CANCELLED = "the appender was cancelled before this append was"


def refused(appender: Any) -> Any:
    """Append on a condition that does not hold."""
    return appender.append_if(event(-1), factstr.where("none"), 7)


@pytest.fixture
def _silent_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """For threads that are meant to end with an exception."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


def no_thread_named(name: str, patch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    patch.setattr(threading.Thread, "start", refusing)


@pytest.mark.usefixtures("_silent_threads")
def test_without_a_thread_to_watch_every_append_fails(
    fake: FakeServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_thread_named("factstr-appender-watch", monkeypatch)
    appender = store.appender()
    append = appender.append(event(0))
    with pytest.raises(factstr.StoreClosed, match="can't start new thread"):
        appender.close()
    assert append.done()
    assert fake.records == []


def test_without_a_thread_to_read_nothing_is_put_and_the_next_append_tries_again(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    with store.appender() as appender:
        with pytest.MonkeyPatch.context() as patch:
            no_thread_named("factstr-appender", patch)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                appender.append(event(0))
        appender.append(event(1))
    assert numbers(fake) == [1]


def leave(_: object) -> None:
    """A callback that ends whichever thread calls it."""
    raise SystemExit(1)


@pytest.mark.usefixtures("_silent_threads")
def test_a_callback_that_ends_its_thread_leaves_no_append_untold(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    held = Held(fake)
    appender = store.appender()
    appends = [appender.append(event(n)) for n in range(20)]

    appends[3].add_done_callback(leave)
    held.arrived.wait(30)
    held.may_go_on.set()
    with pytest.raises(factstr.OutcomeUnknown, match=r"ended by SystemExit\(1\)"):
        appender.close()
    assert all(append.done() for append in appends)
    with pytest.raises(factstr.StoreClosed):
        appender.append(event(20))


def test_what_was_settled_together_is_told_whatever_a_callback_raises(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    held = Held(fake)
    appender = store.appender()
    appends = [appender.append(event(n)) for n in range(20)]
    held.arrived.wait(30)

    appends[3].add_done_callback(leave)
    with pytest.raises(SystemExit):
        appender.cancel()
    held.may_go_on.set()
    assert all(append.done() for append in appends)


def test_a_forked_process_is_told_that_nothing_is_sent(fake: FakeServer, store: factstr.EventStore) -> None:
    appender = store.appender()
    # As a fork leaves it: the thread is there by name, and does not run.
    appender._reader = threading.Thread()
    with pytest.raises(factstr.StoreClosed):
        appender.append(event(0))
    assert fake.records == []


def test_an_append_whose_thread_is_gone_fails_at_the_close(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    held = Held(fake)
    appender = store.appender()
    append = appender.append(event(0))
    held.arrived.wait(30)
    reader, appender._reader = appender._reader, None
    with pytest.raises(factstr.OutcomeUnknown, match="thread ended"):
        appender.close()
    assert append.done()
    held.may_go_on.set()
    assert reader is not None
    reader.join()


def test_cancelling_says_what_became_of_each(fake: FakeServer, appending: Store) -> None:
    held = Held(fake)
    appender = appending.appender(max_unanswered=10).__enter__()
    sent = appender.append(event(0))
    held.arrived.wait(30)
    appender.cancel()
    error = sent.exception()
    assert isinstance(error, factstr.OutcomeUnknown)
    assert str(error) == f"{CANCELLED} answered (it may or may not have been committed)"
    held.may_go_on.set()


def test_a_wait_for_a_result_that_times_out_has_seen_no_failure(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    held = Held(fake)
    appender = store.appender()
    append = refused(appender)
    held.arrived.wait(30)
    # The answer comes between the end of the wait and the look at whether there is one.
    append._condition = _Answering(append._condition, held, append)
    with pytest.raises(TimeoutError):
        append.result(0)
    assert append.done()
    with pytest.raises(factstr.ConditionalAppendConflict):
        appender.close()


class _Answering:
    """A future's condition; when a wait for it is over, the answer comes."""

    def __init__(self, condition: Any, held: Held, append: Any) -> None:
        self._condition, self._held, self._append = condition, held, append

    def __getattr__(self, name: str) -> Any:
        return getattr(self._condition, name)

    def __enter__(self) -> Any:
        return self._condition.__enter__()

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> Any:
        left = self._condition.__exit__(kind, *details)
        if kind is TimeoutError:
            self._append._condition = self._condition
            self._held.may_go_on.set()
            wait_until(self._append.done, "the answer is there")
        return left


def test_leaving_the_stores_block_waits_for_its_appenders(fake: FakeServer, appending: Store) -> None:
    with appending:
        appender = appending.appender().__enter__()
        appends = [appender.append(event(n)) for n in range(2_000)]
    assert all(append.done() for append in appends)
    assert numbers(fake) == list(range(2_000))
    with pytest.raises(factstr.StoreClosed, match="the appender is closed"):
        appender.append(event(0))


def test_closing_the_store_raises_the_failure_that_nobody_has_looked_at(
    fake: FakeServer, appending: Store
) -> None:
    appenders = [appending.appender().__enter__() for _ in range(2)]
    appenders[0].append(event(0))
    refused(appenders[1])
    with pytest.raises(factstr.ConditionalAppendConflict):
        appending.close()
    assert numbers(fake) == [0]
    appending.close()


def test_what_a_cancelled_appender_has_dropped_is_no_failure_of_its_store(
    fake: FakeServer, appending: Store
) -> None:
    held = Held(fake)
    appender = appending.appender().__enter__()
    appender.append(event(0))
    held.arrived.wait(30)
    appender.cancel()
    held.may_go_on.set()
    appending.close()


def test_an_exception_in_the_stores_block_cancels_its_appenders(fake: FakeServer, appending: Store) -> None:
    held = Held(fake)
    appender = appending.appender().__enter__()
    sent = appender.append(event(0))
    held.arrived.wait(30)
    appending.__exit__(KeyError, KeyError("mine"), None)
    error = sent.exception()
    assert isinstance(error, factstr.OutcomeUnknown)
    assert str(error).startswith(CANCELLED)
    held.may_go_on.set()


def test_an_appender_that_is_forgotten_in_the_stores_block_ends_with_it(fake: FakeServer) -> None:
    with factstr.connect(fake.target) as store:
        for n in range(10):
            store.appender().append(event(n))
    gc.collect()
    assert sorted(numbers(fake)) == list(range(10))
    wait_until(
        lambda: not any("factstr-appender" in thread.name for thread in threading.enumerate()),
        "its threads have ended",
    )


def test_who_forgets_an_appender_whose_appends_have_failed_is_warned(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    fake.end_append_stream_with = DRAINING
    appender = store.appender()
    append = refused(appender)
    wait_until(lambda: append.done() and appender._reader is None, "it has failed")
    forgotten = appender._forgotten
    with pytest.warns(RuntimeWarning, match="1 appends of an appender that was not closed have failed"):
        forgotten()


def test_who_cancels_or_closes_is_not_warned(fake: FakeServer, store: factstr.EventStore) -> None:
    closed, cancelled = store.appender(), store.appender()
    closed.append(event(0))
    closed.close()
    cancelled.append(event(1))
    cancelled.cancel()
    for ended in (closed, cancelled):
        assert not ended._forgotten.alive


async def test_an_append_that_nobody_waited_for_long_enough_and_that_failed_is_raised_in_the_end(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    held = Held(fake)
    appender = aio_store.appender()
    append = await refused(appender)
    await asyncio.to_thread(held.arrived.wait, 30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(append, 0.01)
    held.may_go_on.set()
    with pytest.raises(factstr.ConditionalAppendConflict):
        await appender.close()


async def test_a_task_that_is_cancelled_when_the_failure_is_there_has_not_seen_it(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    appender = aio_store.appender()
    append = await refused(appender)

    async def wait() -> None:
        await append

    waiting = asyncio.create_task(wait())
    append.add_done_callback(lambda _: waiting.cancel())
    await asyncio.wait([waiting])
    assert (append.done(), append.cancelled(), waiting.cancelled()) == (True, False, True)
    with pytest.raises(factstr.ConditionalAppendConflict):
        await appender.close()


async def test_who_waits_in_close_while_another_task_cancels_is_told_what_failed(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    held = Held(fake)
    appender = aio_store.appender()
    await appender.append(event(0))
    await asyncio.to_thread(held.arrived.wait, 30)
    closing = asyncio.create_task(appender.close())
    await asyncio.sleep(0)
    await appender.cancel()
    with pytest.raises(factstr.OutcomeUnknown, match=CANCELLED):
        await closing
    held.may_go_on.set()


async def test_asyncio_logs_nothing_of_what_a_cancelled_appender_has_dropped(
    fake: FakeServer, aio_store: factstr.aio.EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    appender = aio_store.appender()
    for n in range(100):
        await appender.append(event(n))
    await appender.cancel()
    del appender
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.messages == []


async def test_asyncio_logs_nothing_of_failures_that_the_appender_tells_of(
    fake: FakeServer, aio_store: factstr.aio.EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    appender = aio_store.appender()
    for _ in range(1_500):
        await refused(appender)
    with pytest.raises(factstr.ConditionalAppendConflict) as raised:
        await appender.close()
    assert raised.value.__notes__ == ["the first of 1,500 failed appends whose result nobody looked at"]
    del appender
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.messages == []


async def test_a_loop_that_is_held_up_takes_no_answer_for_silence(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    async with aio_store.appender(timeout=0.5) as appender:
        await (await appender.append(event(0)))
        append = await appender.append(event(1))
        await asyncio.sleep(0)
        time.sleep(1.2)  # noqa: ASYNC251  (this is the fault that is tried)
        assert (await append).first_sequence_number == 2
