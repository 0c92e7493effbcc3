"""A stream ends when it is left, in whatever way, and leaves a server that has fallen silent."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import factstr
from factstr import live_stream, resuming
from tests.client.fake_server import Refusal, busy
from tests.client.fake_streams import LOST, SILENCE, Live, StreamingServer, live_batches, live_started
from tests.client.test_errors import Failure
from tests.client.test_live_streams import asked_after, numbers


def test_a_silent_server_is_noticed_and_left(
    fake: StreamingServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_GRACE", 0.0)
    monkeypatch.setattr(live_stream, "_LOOK_EVERY", 0.01)
    heartbeat = Duration(nanos=50_000_000)
    fake.play = [[live_started(heartbeat=heartbeat), live_batches((1, 1)), SILENCE]]
    with store.stream_all(after=0) as stream:
        fake.commit("1")
        fake.commit("2")
        assert numbers(list(islice(stream, 2))) == [1, 2]


def test_a_server_that_never_begins_is_given_up_with_a_word(
    fake: StreamingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "_LOOK_EVERY", 0.01)
    fake.play = [[SILENCE]]
    with (
        factstr.connect(fake.target, timeout=0.2, retries=factstr.Retries(limit=0)) as store,
        pytest.raises(factstr.DeadlineExceeded, match="the server said nothing for"),
    ):
        store.stream_all()


def test_a_caller_who_takes_his_time_is_not_taken_for_a_silent_server(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    fake.commit("1")
    fake.commit("2")
    with store.stream_all(after=0) as stream:
        next(stream)
        stream.end_silence()
        assert numbers([next(stream)]) == [2]
    assert len(fake.requests) == 1


def test_a_caller_who_is_interrupted_can_read_on(
    fake: StreamingServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.commit("1")
    with store.stream_all(after=0) as stream:

        def interrupt(message: Live) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(stream._following, "take", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert numbers([next(stream)]) == [1]
    assert asked_after(fake) == [0, 0]


def test_a_stream_can_be_closed_under_the_thread_that_reads_it(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    stream = store.stream_all()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, stream)
        stream.close()
        assert reading.result() == []
    stream.close()
    assert list(stream) == []


def test_a_call_that_is_opened_while_the_stream_is_closed_is_not_left_behind(
    fake: StreamingServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Call:
        is_cancelled = False

        def cancel(self) -> None:
            self.is_cancelled = True

        def __next__(self) -> Live:
            raise Failure(Refusal(grpc.StatusCode.CANCELLED)) if self.is_cancelled else AssertionError

    def open_while_closed() -> Call:
        stream.close()
        return Call()

    fake.play = [[live_started(), LOST]]
    stream = store.stream_all()
    monkeypatch.setattr(stream, "_open_call", open_while_closed)
    assert list(stream) == []


def test_a_stream_that_waits_to_be_taken_up_again_can_be_closed(fake: StreamingServer) -> None:
    fake.play = [[live_started(), busy(600)]]
    with factstr.connect(fake.target) as store, ThreadPoolExecutor(1) as pool:
        stream = store.stream_all()
        reading = pool.submit(list, stream)
        stream.close()
        assert reading.result() == []


def test_a_store_that_is_closed_ends_its_streams_with_a_word(
    fake: StreamingServer, store: factstr.EventStore
) -> None:
    stream = store.stream_all()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, stream)
        store.close()
        with pytest.raises(factstr.StoreClosed, match="the store is closed"):
            reading.result()
    with pytest.raises(factstr.StoreClosed):
        store.stream_all()


def test_a_stream_that_is_dropped_leaves_no_thread_and_no_call(
    fake: StreamingServer, store: factstr.EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "_LOOK_EVERY", 0.01)
    stream = store.stream_all()
    watch = next(thread for thread in threading.enumerate() if thread.name == "factstr-stream-watch")
    del stream
    gc.collect()
    watch.join()
    with fake.changed:
        fake.changed.wait_for(lambda: fake.open_streams == 0)
