"""A projection acknowledges what its handler has done, and nothing else."""

from collections.abc import Iterator
from typing import NoReturn

import pytest

import factstr
from factstr import consuming
from factstr.v1 import event_store_service_pb2
from tests.client.fake_streams import (
    LOST,
    Cursor,
    StreamingServer,
    durable_batches,
    durable_started,
)

ALL = factstr.everything()
NAME = "inventory"


class Handler:
    """Remembers what it has done, and fails at a sequence number."""

    def __init__(self, failing_at: int | None = None, failure: type[BaseException] = LookupError) -> None:
        self.done: list[int] = []
        self._failing_at = failing_at
        self._failure = failure

    def __call__(self, batch: factstr.DurableBatch) -> None:
        if batch.first_sequence_number == self._failing_at:
            raise self._failure
        self.done += [record.sequence_number for record in batch.event_records]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow machine change when something is acknowledged."""
    monkeypatch.setattr(consuming, "_LONGEST_UNACKNOWLEDGED", 3_600)


@pytest.fixture
def five(fake: StreamingServer) -> StreamingServer:
    for payload in "12345":
        fake.commit(payload)
    return fake


def acknowledged(fake: StreamingServer) -> list[str]:
    return [r.acknowledgement_token for r in fake.seen(event_store_service_pb2.AcknowledgeDurableRequest)]


def test_all_up_to_the_head_is_handled_and_acknowledged(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    handler = Handler()
    store.project(NAME, ALL, handler, stop_when_caught_up=True)
    assert (handler.done, five.streams[NAME].cursor) == ([1, 2, 3, 4, 5], 5)
    five.commit("6")
    store.project(NAME, ALL, handler, stop_when_caught_up=True)
    assert (handler.done, five.streams[NAME].cursor) == ([1, 2, 3, 4, 5, 6], 6)


def test_what_comes_together_is_acknowledged_together(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    store.project(NAME, ALL, Handler(), stop_when_caught_up=True)
    assert acknowledged(five) == ["1:5"]


def test_a_slow_handler_is_acknowledged_as_it_goes(
    five: StreamingServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "_LONGEST_UNACKNOWLEDGED", 0)
    store.project(NAME, ALL, Handler(), stop_when_caught_up=True)
    assert acknowledged(five) == ["1:1", "1:2", "1:3", "1:4", "1:5"]


def test_a_failure_of_the_handler_leaves_the_cursor_before_it(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    failing = Handler(failing_at=3)
    with pytest.raises(LookupError):
        store.project(NAME, ALL, failing)
    assert (failing.done, five.streams[NAME].cursor) == ([1, 2], 2)
    handler = Handler()
    store.project(NAME, ALL, handler, stop_when_caught_up=True)
    assert handler.done == [3, 4, 5]


@pytest.mark.parametrize("failure", [LookupError, KeyboardInterrupt])
def test_nothing_that_comes_after_a_failure_is_handled_or_acknowledged_on_the_same_stream(
    five: StreamingServer, store: factstr.EventStore, failure: type[BaseException]
) -> None:
    failing = Handler(failing_at=3, failure=failure)
    with store.stream_to_durable(NAME, ALL) as batches:
        with pytest.raises(failure):
            batches.project(failing)
        batches.project(failing)
        assert list(batches) == []
    assert failing.done == [1, 2]
    assert five.streams[NAME].cursor == (2 if failure is LookupError else 0)


def test_a_handler_that_has_not_run_when_it_returns_is_refused_and_acknowledges_nothing(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    async def asynchronous(batch: factstr.DurableBatch) -> None:
        raise AssertionError(batch)

    def generator(batch: factstr.DurableBatch) -> Iterator[factstr.DurableBatch]:
        yield batch

    for handler in (asynchronous, generator):
        with pytest.raises(TypeError, match="has not run"):
            store.project(NAME, ALL, handler)
    assert acknowledged(five) == []


def test_a_failure_at_the_first_batch_acknowledges_nothing(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    with pytest.raises(LookupError):
        store.project(NAME, ALL, Handler(failing_at=1))
    assert acknowledged(five) == []


def test_the_failure_of_the_handler_is_raised_even_when_nothing_can_be_acknowledged(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    def fail(batch: factstr.DurableBatch) -> None:
        if batch.first_sequence_number == 2:
            five.instead = [LOST] * (1 + factstr.Retries().limit)
            raise LookupError

    with pytest.raises(LookupError):
        store.project(NAME, ALL, fail)
    assert five.streams[NAME].cursor == 0


def test_who_is_interrupted_is_not_held_up_by_an_acknowledgement(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.project(NAME, ALL, Handler(failing_at=3, failure=KeyboardInterrupt))
    assert acknowledged(five) == []


def test_a_projection_goes_on_after_an_interruption_and_repeats_nothing(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    fake.commit("2")
    fake.streams[NAME] = Cursor(ALL.to_proto(), 0, epoch=1)
    fake.epoch = 1
    fake.play = [[durable_started(0, 1), durable_batches(1, (1, 1)), LOST]]
    handler = Handler()
    store.project(NAME, ALL, handler, stop_when_caught_up=True)
    assert (handler.done, fake.streams[NAME].cursor) == ([1, 2], 2)


def test_a_projection_whose_lease_is_taken_ends_with_that(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    def reset(batch: factstr.DurableBatch) -> None:
        store.reset_durable_stream(NAME, force=True)

    with pytest.raises(factstr.LeaseLost):
        store.project(NAME, ALL, reset)
    assert five.streams[NAME].cursor == 0


def test_a_projection_takes_the_options_of_its_stream(
    five: StreamingServer, store: factstr.EventStore
) -> None:
    def never(batch: factstr.DurableBatch) -> NoReturn:
        raise AssertionError(batch)

    store.project(
        NAME,
        ALL,
        never,
        stop_when_caught_up=True,
        start=factstr.AT_HEAD,
        max_unacknowledged_batches=3,
        wait_for_lease=True,
    )
    [request] = five.seen(event_store_service_pb2.StreamToDurableRequest)
    assert (request.start_at_head, request.max_unacknowledged_batches, request.wait_for_lease) == (
        True,
        3,
        True,
    )
