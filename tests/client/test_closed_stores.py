"""A store that was closed says so, whatever it is asked, and leaves the outcome of no append in a false light."""

import asyncio
import math
import threading
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import factstr
from factstr import connected
from tests.client.conftest import IMPATIENT
from tests.client.fake_server import FakeServer, Refusal

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")
EVENT = factstr.Event("a", 1)


def more_than_is_sent_ahead(fake: FakeServer) -> None:
    """Store a result whose end is still with the server when its first facts are read."""
    fake.store(*(("a", "x" * 200_000) for _ in range(100)))
    fake.records_per_message = 1


def test_calls_after_the_close_are_refused(fake: FakeServer, store: factstr.EventStore) -> None:
    more_than_is_sent_ahead(fake)
    result = store.query()
    store.close()
    for call in (lambda: store.append(EVENT), store.query, store.server_info, lambda: list(result)):
        with pytest.raises(factstr.StoreClosed, match="the store is closed"):
            call()
    result.close()
    assert len(fake.records) == 100


async def test_asyncio_calls_after_the_close_are_refused(
    fake: FakeServer, aio_store: factstr.aio.EventStore
) -> None:
    more_than_is_sent_ahead(fake)
    result = await aio_store.query()
    await aio_store.close()
    try:
        facts = len([record async for record in result])
    except factstr.StoreClosed:
        facts = len(fake.records)
    # gRPC 1.80 reads to the end what nobody was waiting for at the close; a part alone is never taken for the whole.
    assert facts == 100
    for call in (lambda: aio_store.append(EVENT), aio_store.query, aio_store.server_info):
        with pytest.raises(factstr.StoreClosed, match="the store is closed"):
            await call()
    await result.close()
    assert len(fake.records) == 100


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_append_under_way_at_the_close_is_in_doubt(fake: FakeServer, key: str | None) -> None:
    arrived, done, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(arrived.set)
        done.wait()

    fake.on_call = hold
    store = factstr.aio.connect(fake.target)
    appending = asyncio.ensure_future(store.append(EVENT, idempotency_key=key))
    try:
        await arrived.wait()
        await store.close()
        with pytest.raises(factstr.OutcomeUnknown, match="may or may not have been committed"):
            await appending
    finally:
        done.set()


def test_a_repetition_that_the_close_prevents_leaves_the_append_in_doubt(fake: FakeServer) -> None:
    store = factstr.connect(fake.target, retries=IMPATIENT)
    fake.instead, fake.on_call = [LOST], store.close
    with pytest.raises(factstr.OutcomeUnknown):
        store.append(EVENT, idempotency_key="k")


class LateLook:
    """What gRPC's thread looks at the state of a channel with; its first look begins late."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.may_begin = threading.Event()
        self.ended = threading.Event()
        self.failure: ValueError | None = None

    def check_connectivity_state(self, try_to_connect: bool) -> Any:
        return self._channel.check_connectivity_state(try_to_connect)

    def watch_connectivity_state(self, last: Any, deadline: float) -> Any:
        # As long as a busy machine may take; whoever closes the channel under it meanwhile is found out.
        self.may_begin.wait(0.5)
        try:
            return self._channel.watch_connectivity_state(last, deadline)
        except ValueError as failure:
            self.failure = failure
            raise
        finally:
            self.ended.set()


def test_a_store_closes_only_when_nothing_looks_at_its_connection_any_more(fake: FakeServer) -> None:
    channel = grpc.insecure_channel(fake.target)
    state = vars(channel)["_connectivity_state"]
    look = state.channel = LateLook(state.channel)
    store = factstr.EventStore(channel)
    # There is a connection then, and the appender's one look at it is still to come when its append is answered.
    store.append(EVENT)
    assert store.appender().append(EVENT).result().first_sequence_number == 2
    store.close()
    look.may_begin.set()
    assert look.ended.wait(10)
    assert look.failure is None


def test_a_store_waits_for_nobody_else_who_looks_at_its_channel(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it would wait: theirs does not end before the channel.
    monkeypatch.setattr(connected, "_LONGEST_LOOK", math.inf)
    channel = grpc.insecure_channel(fake.target)
    theirs = SimpleNamespace(polling=True, callbacks_and_connectivities=["another's"], lock=threading.Lock())
    vars(channel)["_connectivity_state"] = theirs
    store = factstr.EventStore(channel)
    store.append(EVENT)
    store.close()
    with pytest.raises(factstr.StoreClosed):
        store.append(EVENT)
