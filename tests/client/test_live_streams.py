"""Live streams lose, repeat and stall nothing that a caller could see, whatever happens to their calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import grpc
import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.fake_server import Refusal, busy
from tests.client.fake_streams import (
    END,
    LOST,
    SILENCE,
    Live,
    StreamingServer,
    ahead,
    caught_up,
    checkpoint,
    live_batches,
    live_started,
)

Code = grpc.StatusCode
DIVERGED = Refusal(Code.DATA_LOSS, "another log", "LOG_DIVERGED")


def ranges(batches: list[factstr.CommittedBatch]) -> list[tuple[int, int]]:
    return [(batch.first_sequence_number, batch.last_sequence_number) for batch in batches]


def numbers(batches: list[factstr.CommittedBatch]) -> list[int]:
    return [record.sequence_number for batch in batches for record in batch.event_records]


def asked_after(fake: StreamingServer) -> list[int | None]:
    requests = fake.seen(event_store_service_pb2.StreamAllRequest)
    return [r.after_sequence_number if r.HasField("after_sequence_number") else None for r in requests]


def test_what_is_appended_once_a_stream_is_there_is_delivered(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("0")
    with store.stream_all() as stream:
        assert stream.position == 1
        store.append([factstr.Event("a", 1), factstr.Event("b", {"n": 2}, {"k": "v"})])
        batch = next(stream)
    assert (batch.first_sequence_number, batch.last_sequence_number) == (2, 3)
    assert [(r.event_type, r.payload, r.metadata) for r in batch.event_records] == [
        ("a", 1, {}),
        ("b", {"n": 2}, {"k": "v"}),
    ]


def test_a_replay_goes_on_live(fake: StreamingServer, store: factstr.EventStore) -> None:
    fake.commit("1", "2")
    fake.commit("3")
    with store.stream_all(after=1) as stream:
        assert ranges(list(islice(stream, 2))) == [(1, 2), (3, 3)]
        fake.commit("4")
        assert ranges([next(stream)]) == [(4, 4)]


def test_a_filtered_stream_gets_the_matching_part_of_each_batch(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    query = factstr.where("a", payload={"n": 1})
    with store.stream_to(query, after=0) as stream:
        store.append([factstr.Event("a", {"n": 1}), factstr.Event("a", {"n": 2})])
        batch = next(stream)
    assert (ranges([batch]), numbers([batch])) == ([(1, 2)], [1])
    [request] = fake.seen(event_store_service_pb2.StreamToRequest)
    assert (request.query, request.after_sequence_number) == (query.to_proto(), 0)


def test_the_position_moves_with_each_batch_that_is_handed_over(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [[live_started(1), live_batches((2, 4), (6, 6)), SILENCE]]
    with store.stream_all(after=1) as stream:
        assert [stream.position for _ in islice(stream, 2)] == [4, 6]


def test_a_stream_knows_the_log_that_it_is_on(fake: StreamingServer, store: factstr.EventStore) -> None:
    with store.stream_all() as stream:
        assert (stream.store_id, stream.history_id) == ("store-1", "history-1")


def test_a_replay_ends_where_the_stream_has_caught_up(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    fake.commit("2")
    with store.stream_all(after=0) as stream:
        assert (stream.position, stream.caught_up) == (0, None)
        assert ranges(list(stream.until_caught_up())) == [(1, 1), (2, 2)]
        assert stream.caught_up == 2
        assert list(stream.until_caught_up()) == []
        fake.commit("3")
        assert ranges([next(stream)]) == [(3, 3)]


def test_the_replay_of_an_empty_log_ends_at_once(fake: StreamingServer, store: factstr.EventStore) -> None:
    with store.stream_all(after=0) as stream:
        assert list(stream.until_caught_up()) == []
        assert stream.caught_up == 0


def test_an_interrupted_replay_has_not_caught_up_until_it_says_so_again(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [
        [live_started(), live_batches((1, 1)), LOST],
        [live_started(1), live_batches((2, 2)), caught_up(2), LOST],
        [live_started(2), live_batches((3, 3)), SILENCE],
    ]
    with store.stream_all(after=0) as stream:
        assert ranges(list(stream.until_caught_up())) == [(1, 1), (2, 2)]
        assert stream.caught_up == 2
        assert ranges([next(stream)]) == [(3, 3)]
        assert stream.caught_up is None


@pytest.mark.parametrize(
    "interruption",
    [
        LOST,
        END,
        busy(),
        Refusal(Code.UNAVAILABLE, "draining", "SERVER_DRAINING"),
        Refusal(Code.UNAVAILABLE, "no store", "STORE_UNAVAILABLE"),
        Refusal(Code.INTERNAL, "RST_STREAM"),
        Refusal(Code.CANCELLED, "a proxy's mood"),
        Refusal(Code.DEADLINE_EXCEEDED, "a proxy's patience"),
        Refusal(Code.UNAVAILABLE, "new trouble", "A_REASON_OF_LATER"),
    ],
    ids=lambda step: step if isinstance(step, str) else f"{step.code.name}-{step.reason}",
)
def test_after_an_interruption_that_may_pass_a_stream_goes_on_where_it_was(
    fake: StreamingServer, store: factstr.EventStore, interruption: Refusal | str
) -> None:
    fake.play = [
        [live_started(), live_batches((1, 1), (2, 3)), interruption],
        [interruption],
        [live_started(3), live_batches((4, 4)), SILENCE],
    ]
    with store.stream_all(after=0) as stream:
        assert numbers(list(islice(stream, 3))) == [1, 2, 3, 4]
    assert asked_after(fake) == [0, 3, 3]


def test_a_stream_from_now_on_goes_on_from_what_now_was(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [[LOST], [live_started(7), LOST], [live_started(7), live_batches((8, 8)), SILENCE]]
    with store.stream_all() as stream:
        assert numbers([next(stream)]) == [8]
    assert asked_after(fake) == [None, None, 7]


@pytest.mark.parametrize("passing", [checkpoint(9), caught_up(9)], ids=["checkpoint", "caught up"])
def test_what_does_not_match_is_not_asked_for_again(
    fake: StreamingServer, store: factstr.EventStore, passing: Live
) -> None:
    fake.play = [[live_started(), passing, LOST], [live_started(9), live_batches((10, 10)), SILENCE]]
    with store.stream_all(after=0) as stream:
        assert numbers([next(stream)]) == [10]
    assert asked_after(fake) == [0, 9]


def test_content_that_this_version_does_not_know_is_skipped(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    unknown = Live.FromString(b"\x7a\x02\x08\x01")
    fake.play = [[unknown, live_started(), unknown, live_batches((1, 1)), SILENCE]]
    with store.stream_all(after=0) as stream:
        assert numbers([next(stream)]) == [1]


def test_a_stream_that_has_begun_is_taken_up_more_often_than_a_call(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [[live_started()], *[[LOST]] * 20, [live_started(), live_batches((1, 1)), SILENCE]]
    with store.stream_all(after=0) as stream:
        assert numbers([next(stream)]) == [1]


def test_a_stream_that_cannot_be_opened_is_given_up_as_any_call(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [[LOST]] * (1 + factstr.Retries().limit)
    with pytest.raises(factstr.Unavailable, match="connection lost"):
        store.stream_all()
    assert len(fake.requests) == 1 + factstr.Retries().limit


def test_a_stream_is_given_up_when_its_caller_said_so(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.play = [[live_started(), live_batches((1, 1)), LOST]]
    stream = store.stream_all(after=0, give_up_after=0)
    assert numbers([next(stream)]) == [1]
    with pytest.raises(factstr.Unavailable):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (DIVERGED, factstr.LogDiverged),
        (ahead(1, 0), factstr.CursorAheadOfLog),
        (Refusal(Code.UNAUTHENTICATED, "no", "UNAUTHENTICATED"), factstr.Unauthenticated),
        (Refusal(Code.INTERNAL, "defect", "INTERNAL"), factstr.ServerError),
        (Refusal(Code.RESOURCE_EXHAUSTED, "message too large"), factstr.Unavailable),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else value.__name__,
)
def test_what_will_not_pass_is_raised_once_and_ends_the_stream(
    fake: StreamingServer, store: factstr.EventStore, failure: Refusal, kind: type[factstr.FactstrError]
) -> None:
    fake.play = [[live_started(), live_batches((1, 1)), LOST], [failure]]
    with store.stream_all(after=0) as stream:
        assert numbers([next(stream)]) == [1]
        with pytest.raises(factstr.FactstrError) as raised:
            next(stream)
        assert type(raised.value) is kind
        assert list(stream) == []


@pytest.mark.parametrize(
    "other",
    [live_started(1, store_id="store-2"), live_started(1, history_id="history-2")],
    ids=["store", "history"],
)
def test_a_stream_does_not_go_on_in_another_log(
    fake: StreamingServer, store: factstr.EventStore, other: Live
) -> None:
    fake.play = [[live_started(), live_batches((1, 1)), LOST], [other, live_batches((2, 2)), SILENCE]]
    with store.stream_all(after=0) as stream:
        assert numbers([next(stream)]) == [1]
        with pytest.raises(factstr.LogDiverged, match="store-1 / history-1") as raised:
            next(stream)
    assert raised.value.reason == "LOG_DIVERGED"


def test_a_position_beyond_the_log_is_refused_at_once_with_both_numbers(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    with pytest.raises(factstr.CursorAheadOfLog) as raised:
        store.stream_all(after=5)
    assert (raised.value.asked_for, raised.value.head_sequence_number) == (5, 1)


@pytest.mark.parametrize(
    ("open_stream", "message"),
    [
        (lambda store: store.stream_all(after=-1), "after is -1"),
        (lambda store: store.stream_all(after="1"), r"after is '1' \(a str\)"),
        (lambda store: store.stream_to("a"), r"query is 'a' \(a str\)"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_by_name(
    fake: StreamingServer,
    store: factstr.EventStore,
    open_stream: Callable[[factstr.EventStore], object],
    message: str,
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        open_stream(store)
    assert not fake.requests


def test_two_threads_do_not_read_one_stream(fake: StreamingServer, store: factstr.EventStore) -> None:
    with ThreadPoolExecutor(1) as pool, store.stream_all(after=0) as stream:
        reading = pool.submit(next, stream)
        while not stream._being_read.locked():
            pass
        with pytest.raises(RuntimeError, match="another thread"):
            next(stream)
        fake.commit("1")
        assert reading.result(20).last_sequence_number == 1
