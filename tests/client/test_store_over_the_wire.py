"""The synchronous store over real gRPC: what a scripted channel cannot show."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.fake_server import FakeServer, serve


def numbers(result: factstr.QueryResult) -> list[int]:
    return [record.sequence_number for record in result]


def query_requests(fake: FakeServer) -> list[event_store_service_pb2.QueryRequest]:
    return fake.seen(event_store_service_pb2.QueryRequest)


def test_an_interrupted_query_goes_on_where_it_was_within_its_snapshot(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 2, [2]
    query = factstr.where("a").after(1)
    result = store.query(query, limit=7)
    fake.store(("a", "later"))
    assert numbers(result) == [2, 3, 4, 5, 6, 7, 8]
    assert query_requests(fake)[1] == event_store_service_pb2.QueryRequest(
        query=query.after(5).to_proto(),
        limit=3,
        order=event_store_service_pb2.ORDER_ASCENDING,
        before_sequence_number=11,
    )


def test_an_interrupted_descending_query_goes_on_downwards(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 2, [1]
    assert numbers(store.query(order="descending", before=9)) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [request.before_sequence_number for request in query_requests(fake)] == [9, 7]


def test_an_interrupted_page_keeps_its_upper_end(fake: FakeServer, store: factstr.EventStore) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 1, [1]
    assert numbers(store.query(before=4)) == [1, 2, 3]


def test_an_interrupted_empty_result_stays_empty(fake: FakeServer, store: factstr.EventStore) -> None:
    fake.break_after_messages = [1]
    result = store.query()
    fake.store(("a", "later"))
    assert (numbers(result), result.context_version) == ([], None)


def test_a_query_that_makes_progress_is_taken_up_again_as_often_as_it_takes(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 1, [1] * 9
    assert numbers(store.query()) == list(range(1, 11))
    assert len(query_requests(fake)) == 10


def test_a_decision_reads_decides_and_appends(fake: FakeServer, store: factstr.EventStore) -> None:
    fake.store(("a", 1), ("b", 2), ("a", 3))
    result = store.decide(
        factstr.where("a"), lambda context: factstr.Event("sum", sum(r.payload for r in context.records))
    )
    assert result is not None
    assert (result.first_sequence_number, fake.records[-1].payload) == (4, "4")
    [appended] = fake.seen(event_store_service_pb2.AppendIfRequest)
    assert appended.expected_context_version == 3


def test_a_decision_to_do_nothing_appends_nothing(fake: FakeServer, store: factstr.EventStore) -> None:
    assert store.decide(factstr.everything(), lambda _: None) is None
    assert store.decide(factstr.everything(), lambda _: []) is None
    assert not fake.seen(event_store_service_pb2.AppendIfRequest)


def test_a_decision_that_raises_appends_nothing(fake: FakeServer, store: factstr.EventStore) -> None:
    def refuse(context: factstr.Context) -> None:
        raise LookupError("no such tool")

    with pytest.raises(LookupError, match="no such tool"):
        store.decide(factstr.everything(), refuse)
    assert not fake.seen(event_store_service_pb2.AppendIfRequest)


def test_a_decision_is_given_up_after_its_last_attempt(fake: FakeServer, store: factstr.EventStore) -> None:
    fake.before_append = lambda: fake.store(("a", "competitor"))
    decided: list[int | None] = []

    def decide(context: factstr.Context) -> factstr.Event:
        decided.append(context.version)
        return factstr.Event("a", "mine")

    with pytest.raises(factstr.ConditionalAppendConflict) as raised:
        store.decide(factstr.where("a"), decide, attempts=3)
    assert decided == [None, 1, 2]
    assert (raised.value.expected, raised.value.actual) == (2, 3)


def test_deciding_again_with_a_key_tells_that_it_was_decided_before(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    def decide() -> None:
        store.decide(factstr.everything(), lambda _: factstr.Event("a", 1), idempotency_key="k")

    decide()
    with pytest.raises(factstr.IdempotencyKeyReused):
        decide()
    assert len(fake.records) == 1


def test_a_store_serves_several_threads(fake: FakeServer, store: factstr.EventStore) -> None:
    def work() -> None:
        for number in range(20):
            store.append(factstr.Event("a", number))
            numbers(store.query(limit=3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(store.query()) == list(range(1, 81))


def test_a_store_can_be_made_from_any_channel(fake: FakeServer) -> None:
    with grpc.insecure_channel(fake.target) as channel:
        assert factstr.EventStore(channel).append(factstr.Event("a", 1)).committed_count == 1


def test_the_server_describes_itself(store: factstr.EventStore) -> None:
    info = store.server_info()
    assert (info.server_version, info.store_kind, info.store_id) == ("1.2.3", "fake", "store-1")
    assert info.started_at == datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)
    assert info.limits["max_append_bytes"] == 3 * 2**20
    assert (info.idempotency_retention, info.heartbeat_interval) == (None, None)
    assert info.capabilities == ("Query",)


def test_limits_with_a_duration_are_durations(fake: FakeServer, store: factstr.EventStore) -> None:
    fake.limits.idempotency_retention.FromTimedelta(timedelta(days=30))
    fake.limits.heartbeat_interval.FromMilliseconds(1_500)
    info = store.server_info()
    assert info.idempotency_retention == timedelta(days=30)
    assert info.heartbeat_interval == timedelta(seconds=1.5)
    assert all(isinstance(limit, int) for limit in info.limits.values())


def test_a_store_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    with factstr.connect(f"unix:{tmp_path}/nobody.sock", retries=factstr.Retries(limit=0)) as store:
        with pytest.raises(factstr.Unavailable):
            store.server_info()
        with pytest.raises(factstr.OutcomeUnknown):
            store.append(factstr.Event("a", 1))


def test_a_batch_of_the_largest_size_comes_back_through_default_options(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    large = "x" * (3 * 2**20 - 100)
    store.append(factstr.Event("large", large))
    [record] = store.query()
    assert record.payload == large


def test_a_store_is_reached_over_a_unix_socket(tmp_path: Path) -> None:
    fake = FakeServer()
    server = serve(fake, path=tmp_path / "factstr.sock")
    try:
        with factstr.connect(fake.target) as store:
            assert store.append(factstr.Event("a", 1)).first_sequence_number == 1
    finally:
        server.stop(None).wait()
