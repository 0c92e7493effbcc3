"""A durable stream is consumed from the cursor that the store keeps, under a lease, through interruptions."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.fake_server import busy
from tests.client.fake_streams import (
    LOST,
    SILENCE,
    Cursor,
    Step,
    StreamingServer,
    active,
    durable_batches,
    durable_started,
    lease_waiting,
)

QUERY = factstr.where("a")
NAME = "inventory"
DIVERGED = durable_started(0, 2, history_id="history-2")


def ranges(batches: list[factstr.DurableBatch]) -> list[tuple[int, int]]:
    return [(batch.first_sequence_number, batch.last_sequence_number) for batch in batches]


def opened(fake: StreamingServer) -> list[event_store_service_pb2.StreamToDurableRequest]:
    return fake.seen(event_store_service_pb2.StreamToDurableRequest)


def acknowledged(fake: StreamingServer) -> list[str]:
    return [r.acknowledgement_token for r in fake.seen(event_store_service_pb2.AcknowledgeDurableRequest)]


def played(fake: StreamingServer, *calls: Sequence[Step], cursor: int = 0, epoch: int = 1) -> None:
    """Have these calls played to the consumer of a name that has this lease."""
    fake.streams[NAME] = Cursor(QUERY.to_proto(), cursor, epoch, active=True)
    fake.play = list(calls)


def test_what_is_not_acknowledged_is_delivered_to_the_next_consumer(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    for payload in ("1", "2", "3"):
        fake.commit(payload)
    with store.stream_to_durable(NAME, QUERY) as batches:
        assert (batches.cursor, batches.position) == (0, 0)
        first, second = islice(batches, 2)
        assert (batches.acknowledge(first), batches.cursor, batches.position) == (1, 1, 2)
        epoch = batches.lease_epoch
    with store.stream_to_durable(NAME, QUERY) as batches:
        assert ranges(list(islice(batches, 2))) == [*ranges([second]), (3, 3)]
        assert batches.lease_epoch > epoch


def test_an_acknowledgement_takes_all_before_with_it(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1", "2")
    fake.commit("3")
    with store.stream_all_durable(NAME) as batches:
        assert batches.acknowledge(list(islice(batches, 2))[-1]) == 3
    assert acknowledged(fake) == ["1:3"]


def test_a_batch_keeps_its_token_to_itself(fake: StreamingServer, store: factstr.EventStore) -> None:
    fake.commit("1")
    with store.stream_all_durable(NAME) as batches:
        batch = next(batches)
    assert (batch.acknowledgement_token, batch.lease_epoch) == ("1:1", 1)
    assert "1:1" not in repr(batch)
    assert "lease_epoch=1" in repr(batch)


@pytest.mark.parametrize(
    ("start", "fields"),
    [
        (None, {}),
        (0, {"start_after_sequence_number": 0}),
        (7, {"start_after_sequence_number": 7}),
        (factstr.AT_HEAD, {"start_at_head": True}),
    ],
)
def test_a_new_name_is_told_where_to_start(
    fake: StreamingServer,
    store: factstr.EventStore,
    start: int | factstr.Start | None,
    fields: dict[str, int],
) -> None:
    store.stream_to_durable(
        NAME, QUERY, start=start, max_unacknowledged_batches=5, wait_for_lease=True
    ).close()
    store.stream_all_durable(NAME + "-all", start=start).close()
    assert opened(fake) == [
        event_store_service_pb2.StreamToDurableRequest(
            durable_stream=NAME,
            query=QUERY.to_proto(),
            max_unacknowledged_batches=5,
            wait_for_lease=True,
            **fields,  # type: ignore[arg-type]
        )
    ]
    assert fake.seen(event_store_service_pb2.StreamAllDurableRequest) == [
        event_store_service_pb2.StreamAllDurableRequest(durable_stream=NAME + "-all", **fields)  # type: ignore[arg-type]
    ]


def test_a_name_that_starts_at_the_head_gets_what_comes(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    with store.stream_all_durable(NAME, start=factstr.AT_HEAD) as batches:
        fake.commit("2")
        assert (batches.cursor, ranges([next(batches)])) == (1, [(2, 2)])


def test_a_name_stays_bound_to_its_query(fake: StreamingServer, store: factstr.EventStore) -> None:
    store.stream_to_durable(NAME, QUERY).close()
    with pytest.raises(factstr.QueryMismatch):
        store.stream_to_durable(NAME, factstr.where("b"))


def test_a_second_consumer_is_refused_with_the_name_of_the_first(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    with store.stream_all_durable(NAME) as batches:
        with pytest.raises(factstr.DurableStreamActive) as raised:
            store.stream_all_durable(NAME)
        assert (raised.value.holder, raised.value.lease_epoch) == ("somebody", batches.lease_epoch)
    assert len(fake.requests) == 2


def test_a_second_consumer_can_wait_and_is_told_for_whom(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    first = store.stream_all_durable(NAME)
    waited: list[factstr.LeaseWaiting] = []

    def leave(waiting: factstr.LeaseWaiting) -> None:
        waited.append(waiting)
        first.close()

    with store.stream_all_durable(NAME, wait_for_lease=True, on_waiting=leave) as batches:
        assert batches.lease_epoch == first.lease_epoch + 1
    assert waited == [factstr.LeaseWaiting(first.lease_epoch, "somebody")]


def test_who_waits_stays_through_interruptions(fake: StreamingServer, store: factstr.EventStore) -> None:
    interrupted: list[Step] = [lease_waiting(1), LOST]
    played(fake, *[interrupted] * 20, [durable_started(0, 2), SILENCE])
    with store.stream_to_durable(NAME, QUERY, wait_for_lease=True) as batches:
        assert batches.lease_epoch == 2


def test_an_error_of_the_callback_leaves_nothing_open(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    def refuse(waiting: factstr.LeaseWaiting) -> None:
        raise LookupError(waiting.holder)

    with store.stream_all_durable(NAME), pytest.raises(LookupError, match="somebody"):
        store.stream_all_durable(NAME, wait_for_lease=True, on_waiting=refuse)
    store.stream_all_durable(NAME).close()


def test_a_lease_of_ones_own_that_the_server_has_not_seen_closed_is_waited_out(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    with store.stream_all_durable(NAME) as batches:
        unseen = active(Cursor(QUERY.to_proto(), 0, batches.lease_epoch))
    fake.instead = [*[unseen] * 10, None]
    store.stream_all_durable(NAME).close()
    fake.instead = [unseen, None]
    store.reset_durable_stream(NAME, force=True)


def test_a_lease_that_was_just_closed_is_in_nobodys_way(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    for _ in range(20):
        store.stream_all_durable(NAME).close()
    store.reset_durable_stream(NAME)
    store.stream_all_durable(NAME).close()
    store.delete_durable_stream(NAME)


def test_an_interrupted_stream_is_taken_up_under_a_new_lease_after_the_cursor(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(
        fake,
        [durable_started(0, 1), durable_batches(1, (1, 1), (2, 2), (3, 3)), LOST],
        [lease_waiting(1), durable_started(1, 2), durable_batches(2, (2, 2), (3, 3)), SILENCE],
    )
    with store.stream_to_durable(NAME, QUERY, start=0) as batches:
        first, second, _ = islice(batches, 3)
        assert batches.acknowledge(first) == 1
        again = next(batches)
        assert (ranges([again]), again.lease_epoch, batches.lease_epoch) == ([(2, 2)], 2, 2)
        assert batches.position == 2
        fake.streams[NAME].epoch = 2
        assert batches.acknowledge(second) == 1, "of an earlier lease: nothing is done"
        assert batches.acknowledge(again) == 2
    assert acknowledged(fake) == ["1:1", "2:2"]
    assert [(r.wait_for_lease, r.HasField("start")) for r in opened(fake)] == [(False, True), (True, False)]


def test_an_acknowledgement_does_not_need_the_call_that_delivered(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(
        fake,
        [durable_started(0, 1), durable_batches(1, (1, 1)), LOST],
        [durable_started(1, 2), durable_batches(2, (2, 2)), SILENCE],
    )
    with store.stream_to_durable(NAME, QUERY) as batches:
        assert batches.acknowledge(next(batches)) == 1
        assert ranges([next(batches)]) == [(2, 2)]


def test_a_forced_reset_is_raised_where_the_stream_is_read(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    with store.stream_to_durable(NAME, QUERY) as batches, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, batches)
        store.reset_durable_stream(NAME, force=True)
        with pytest.raises(factstr.LeaseLost):
            reading.result()
        assert list(batches) == []
    assert len(opened(fake)) == 1


@pytest.mark.parametrize(
    ("take", "kind"),
    [
        (lambda store: store.reset_durable_stream(NAME, 0, force=True), factstr.LeaseLost),
        (lambda store: store.delete_durable_stream(NAME, force=True), factstr.DurableStreamNotFound),
    ],
    ids=["reset", "deletion"],
)
def test_a_lease_that_was_taken_acknowledges_nothing(
    fake: StreamingServer,
    store: factstr.EventStore,
    take: Callable[[factstr.EventStore], object],
    kind: type[factstr.FactstrError],
) -> None:
    fake.commit("1")
    with store.stream_to_durable(NAME, QUERY) as batches:
        batch = next(batches)
        take(store)
        with pytest.raises(kind):
            batches.acknowledge(batch)
        # Another thread that reads is told too, once.
        with pytest.raises(kind):
            next(batches)
        assert list(batches) == []
    assert len(opened(fake)) == 1


def test_a_batch_of_another_stream_acknowledges_nothing(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    with store.stream_all_durable("another") as others, store.stream_all_durable(NAME) as batches:
        with pytest.raises(factstr.LeaseLost):
            batches.acknowledge(next(others))
        assert fake.streams[NAME].cursor == 0
        with pytest.raises(TypeError, match=r"batch is 5 \(a int\); it must be a DurableBatch"):
            batches.acknowledge(5)  # type: ignore[arg-type]


def test_a_stream_that_was_moved_back_while_it_was_away_is_not_taken_up_in_silence(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(
        fake,
        [durable_started(0, 1), durable_batches(1, (1, 2), (3, 5)), LOST],
        [durable_started(2, 3), durable_batches(3, (3, 5)), SILENCE],
    )
    with store.stream_to_durable(NAME, QUERY) as batches:
        batches.acknowledge(list(islice(batches, 2))[-1])
        with pytest.raises(factstr.LeaseLost, match="stands at 2, but 5 was acknowledged"):
            next(batches)
        assert list(batches) == []


def test_passing_over_that_a_crash_undid_is_no_moving_back(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(
        fake,
        [durable_started(0, 1), durable_batches(1, (1, 2)), LOST],
        [durable_started(2, 3), durable_batches(3, (10, 10)), SILENCE],
    )
    with store.stream_to_durable(NAME, QUERY) as batches:
        batch = next(batches)
        fake.streams[NAME].cursor = 9
        assert batches.acknowledge(batch) == 9
        assert ranges([next(batches)]) == [(10, 10)]
        assert batches.cursor == 2


def test_a_durable_stream_does_not_go_on_in_another_log(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(fake, [durable_started(0, 1), LOST], [DIVERGED, SILENCE])
    with store.stream_to_durable(NAME, QUERY) as batches, pytest.raises(factstr.LogDiverged):
        next(batches)


def test_an_acknowledgement_is_repeated_for_as_long_as_it_takes(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    with store.stream_to_durable(NAME, QUERY) as batches:
        batch = next(batches)
        fake.instead = [*[LOST] * 20, busy(), None]
        assert batches.acknowledge(batch) == 1


def test_an_acknowledgement_is_given_up_with_its_stream(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    with store.stream_to_durable(NAME, QUERY, give_up_after=0) as batches:
        batch = next(batches)
        fake.instead = [LOST]
        with pytest.raises(factstr.Unavailable):
            batches.acknowledge(batch)
        assert batches.acknowledge(batch) == 1


def test_an_acknowledgement_that_overtakes_its_own_streams_new_lease_does_nothing(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    played(fake, [durable_started(0, 1), durable_batches(1, (1, 1)), busy(600)])
    with store.stream_to_durable(NAME, QUERY) as batches, ThreadPoolExecutor(1) as pool:
        batch = next(batches)
        reading = pool.submit(list, batches)
        # Until the reader has noticed that the call has ended, the lease counts as taken by somebody else.
        while batches._following.resumption.is_open:
            pass
        fake.streams[NAME].epoch = 2
        assert batches.acknowledge(batch) == 0
        batches.close()
        assert reading.result() == []


@pytest.mark.parametrize(
    ("consume", "message"),
    [
        (lambda store: store.stream_all_durable(5), r"name is 5 \(a int\); it must be a str"),
        (lambda store: store.stream_to_durable(NAME, "a"), r"query is 'a' \(a str\)"),
        (
            lambda store: store.stream_all_durable(NAME, start="head"),
            r"start is 'head' .* an int, AT_HEAD or None",
        ),
        (
            lambda store: store.stream_all_durable(NAME, start=-1),
            "start is -1; it must be from 0 to 2\\^64 - 1",
        ),
        (
            lambda store: store.stream_all_durable(NAME, max_unacknowledged_batches=2**32),
            "max_unacknowledged_batches is 4294967296; it must be from 0 to 2\\^32 - 1",
        ),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_by_name(
    fake: StreamingServer,
    store: factstr.EventStore,
    consume: Callable[[factstr.EventStore], object],
    message: str,
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        consume(store)
    assert not fake.requests
