"""The synchronous store sends the right requests and reads the answers: against grpcio-testing's channel."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import factstr
from factstr.v1 import event_pb2, event_store_service_pb2, server_service_pb2
from tests.client.fake_server import Refusal, busy, conflict

_T = TypeVar("_T")

EVENTS = event_store_service_pb2.DESCRIPTOR.services_by_name["EventStoreService"]
SERVER = server_service_pb2.DESCRIPTOR.services_by_name["ServerService"]
COMMITTED = event_store_service_pb2.AppendResponse(
    first_sequence_number=4,
    last_sequence_number=5,
    committed_count=2,
    occurred_at=Timestamp(seconds=1_700_000_000),
    repeated_request=True,
)
LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")


class Scripted:
    """A store on a channel whose other end is the test: it takes each call and ends it."""

    def __init__(self, pool: ThreadPoolExecutor, retries: int = 2) -> None:
        self.channel = grpc_testing.channel([EVENTS, SERVER], grpc_testing.strict_fake_time(0))
        self.store = factstr.EventStore(self.channel, retries=factstr.Retries(limit=retries, first_delay=0))
        self._pool = pool

    def start(self, call: Callable[[], _T]) -> Future[_T]:
        return self._pool.submit(call)

    def answer(self, method: str, response: Any) -> Any:
        """Take the next unary call, answer it with a message or a refusal, and return its request."""
        service = EVENTS if method in EVENTS.methods_by_name else SERVER
        _, request, rpc = self.channel.take_unary_unary(service.methods_by_name[method])
        rpc.send_initial_metadata(())
        if isinstance(response, Refusal):
            rpc.terminate(None, response.trailers(), response.code, response.message)
        else:
            rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def take_query(self) -> tuple[Any, Any]:
        _, request, rpc = self.channel.take_unary_stream(EVENTS.methods_by_name["Query"])
        rpc.send_initial_metadata(())
        return request, rpc

    def answer_query(self, *messages: Any, end: Refusal | None = None) -> Any:
        request, rpc = self.take_query()
        for message in messages:
            rpc.send_response(message)
        if end is None:
            rpc.terminate((), grpc.StatusCode.OK, "")
        else:
            rpc.terminate(end.trailers(), end.code, end.message)
        return request


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with ThreadPoolExecutor(1) as pool:
        yield Scripted(pool)


@pytest.fixture
def without_retries() -> Iterator[Scripted]:
    with ThreadPoolExecutor(1) as pool:
        yield Scripted(pool, retries=0)


def page(*sequence_numbers: int, version: int | None) -> event_store_service_pb2.QueryResponse:
    records = [
        event_pb2.EventRecord(sequence_number=number, event_type="a", payload=str(number))
        for number in sequence_numbers
    ]
    last = sequence_numbers[-1] if sequence_numbers else None
    return event_store_service_pb2.QueryResponse(
        event_records=records, current_context_version=version, last_returned_sequence_number=last
    )


def numbers(result: factstr.QueryResult) -> list[int]:
    return [record.sequence_number for record in result]


def test_append_sends_its_events_and_returns_what_was_committed(scripted: Scripted) -> None:
    events = [factstr.Event("a", 1), factstr.Event("b", {"c": 2}, {"k": "v"})]
    call = scripted.start(lambda: scripted.store.append(events, idempotency_key="key-1"))
    assert scripted.answer("Append", COMMITTED) == event_store_service_pb2.AppendRequest(
        events=[
            event_pb2.NewEvent(event_type="a", payload="1"),
            event_pb2.NewEvent(event_type="b", payload='{"c":2}', metadata={"k": "v"}),
        ],
        idempotency_key="key-1",
    )
    when = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert call.result() == factstr.AppendResult(4, 5, 2, when, repeated_request=True)


def test_append_takes_one_event_or_any_iterable(scripted: Scripted) -> None:
    one = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1)))
    assert len(scripted.answer("Append", COMMITTED).events) == 1
    several = scripted.start(lambda: scripted.store.append(factstr.Event("a", n) for n in range(3)))
    assert len(scripted.answer("Append", COMMITTED).events) == 3
    assert one.result() == several.result()


@pytest.mark.parametrize("expected", [None, 0, 7, 2**64 - 1])
def test_append_if_sends_the_expected_version_as_given(scripted: Scripted, expected: int | None) -> None:
    query = factstr.where("a")
    call = scripted.start(lambda: scripted.store.append_if(factstr.Event("a", 1), query, expected))
    request = scripted.answer("AppendIf", COMMITTED)
    assert request.context_query == query.to_proto()
    assert request.HasField("expected_context_version") == (expected is not None)
    assert request.expected_context_version == (expected or 0)
    assert call.result().committed_count == 2


def test_a_conflict_is_raised_at_once_with_both_versions(scripted: Scripted) -> None:
    call = scripted.start(
        lambda: scripted.store.append_if(factstr.Event("a", 1), factstr.everything(), 3, idempotency_key="k")
    )
    scripted.answer("AppendIf", conflict(3, 9))
    with pytest.raises(factstr.ConditionalAppendConflict) as raised:
        call.result()
    assert (raised.value.expected, raised.value.actual) == (3, 9)


def test_without_retries_no_key_is_made_and_nothing_is_repeated(without_retries: Scripted) -> None:
    call = without_retries.start(lambda: without_retries.store.append(factstr.Event("a", 1)))
    assert without_retries.answer("Append", LOST).idempotency_key == ""
    with pytest.raises(factstr.OutcomeUnknown) as raised:
        call.result()
    assert raised.value.idempotency_key is None


def test_a_key_is_made_for_an_append_without_one_so_that_it_can_be_repeated(scripted: Scripted) -> None:
    call = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1)))
    first = scripted.answer("Append", LOST)
    assert first.idempotency_key
    assert scripted.answer("Append", COMMITTED) == first
    # The server has answered that it is a repeat: of the client's own, so not the caller's.
    assert not call.result().repeated_request


def test_each_append_has_a_made_key_of_its_own(scripted: Scripted) -> None:
    keys = set()
    for _ in range(3):
        call = scripted.start(
            lambda: scripted.store.append_if(factstr.Event("a", 1), factstr.everything(), None)
        )
        keys.add(scripted.answer("AppendIf", COMMITTED).idempotency_key)
        call.result()
    assert len(keys) == 3


@pytest.mark.parametrize("key", [None, "mine"])
def test_an_append_in_doubt_names_the_key_with_which_it_may_be_sent_again(
    scripted: Scripted, key: str | None
) -> None:
    call = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1), idempotency_key=key))
    sent = {scripted.answer("Append", LOST).idempotency_key for _ in range(3)}
    with pytest.raises(factstr.OutcomeUnknown) as raised:
        call.result()
    assert sent == {raised.value.idempotency_key}
    assert key in (None, raised.value.idempotency_key)


def test_an_append_with_a_key_is_repeated_as_it_was(scripted: Scripted) -> None:
    call = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1), idempotency_key="k"))
    first = scripted.answer("Append", LOST)
    assert scripted.answer("Append", COMMITTED) == first
    assert call.result().repeated_request


def test_an_append_without_a_key_is_repeated_when_the_server_was_busy(scripted: Scripted) -> None:
    call = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1)))
    scripted.answer("Append", busy())
    scripted.answer("Append", COMMITTED)
    assert call.result().committed_count == 2


def test_repetitions_come_to_an_end(scripted: Scripted) -> None:
    call = scripted.start(lambda: scripted.store.append(factstr.Event("a", 1)))
    for _ in range(3):
        scripted.answer("Append", busy())
    with pytest.raises(factstr.ServerBusy):
        call.result()


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_that_the_wire_cannot_carry_are_refused_by_name(scripted: Scripted, number: int) -> None:
    everything = factstr.everything()
    with pytest.raises(ValueError, match=f"expected_context_version is {number}"):
        scripted.store.append_if(factstr.Event("a", 1), everything, number)
    with pytest.raises(ValueError, match=f"limit is {number}"):
        scripted.store.query(limit=number)
    with pytest.raises(ValueError, match=f"before is {number}"):
        scripted.store.query(before=number)
    with pytest.raises(ValueError, match=f"min_sequence_number is {number}"):
        scripted.store.query(everything.after(number))


def test_an_empty_key_is_refused_because_it_would_protect_nothing(scripted: Scripted) -> None:
    with pytest.raises(ValueError, match="idempotency_key is empty"):
        scripted.store.append(factstr.Event("a", 1), idempotency_key="")


def test_a_query_sends_what_was_asked(scripted: Scripted) -> None:
    query = factstr.where("a").after(2)
    call = scripted.start(lambda: scripted.store.query(query, limit=10, order="descending", before=20))
    assert scripted.answer_query(page(version=None)) == event_store_service_pb2.QueryRequest(
        query=query.to_proto(),
        limit=10,
        order=event_store_service_pb2.ORDER_DESCENDING,
        before_sequence_number=20,
    )
    call.result()


def test_an_order_that_is_none_is_refused(scripted: Scripted) -> None:
    order: Any = "sideways"
    with pytest.raises(ValueError, match="order is 'sideways'"):
        scripted.store.query(order=order)


def test_a_result_knows_its_context_version_before_its_first_fact(scripted: Scripted) -> None:
    call = scripted.start(scripted.store.query)
    _, rpc = scripted.take_query()
    rpc.send_response(page(3, 5, version=9))
    result = call.result()
    assert result.context_version == 9
    rpc.send_response(page(9, version=9))
    rpc.terminate((), grpc.StatusCode.OK, "")
    assert numbers(result) == [3, 5, 9]
    assert result.last_returned_sequence_number == 9


def test_an_empty_result_has_no_version(scripted: Scripted) -> None:
    call = scripted.start(scripted.store.query)
    scripted.answer_query(page(version=None))
    result = call.result()
    assert (result.context_version, result.last_returned_sequence_number, numbers(result)) == (None, None, [])


def test_a_result_that_is_left_early_stops_the_server(scripted: Scripted) -> None:
    call = scripted.start(scripted.store.query)
    _, rpc = scripted.take_query()
    rpc.send_response(page(1, version=1))
    with call.result() as result:
        assert next(iter(result)).sequence_number == 1
    rpc.cancelled()
    result.close()
    assert numbers(result) == []


def test_a_refused_query_is_raised_by_the_query_itself(scripted: Scripted) -> None:
    call = scripted.start(scripted.store.query)
    refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no", "INVALID_PREDICATE")
    scripted.answer_query(end=refusal)
    with pytest.raises(factstr.InvalidRequest):
        call.result()


def test_a_query_that_makes_no_progress_is_given_up(scripted: Scripted) -> None:
    call = scripted.start(lambda: numbers(scripted.store.query()))
    for _ in range(3):
        scripted.answer_query(end=LOST)
    with pytest.raises(factstr.Unavailable):
        call.result()


def test_read_context_returns_facts_and_version(scripted: Scripted) -> None:
    call = scripted.start(scripted.store.read_context)
    scripted.answer_query(page(1, version=2), page(2, version=2))
    context = call.result()
    assert [record.payload for record in context.records] == [1, 2]
    assert context.version == 2


def test_sequence_number_at_asks_for_the_moment(scripted: Scripted) -> None:
    when = datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
    call = scripted.start(lambda: scripted.store.sequence_number_at(when))
    response = server_service_pb2.GetSequenceNumberAtResponse(sequence_number=12)
    request = scripted.answer("GetSequenceNumberAt", response)
    assert request.occurred_at == Timestamp(seconds=1_767_225_600, nanos=5_000)
    assert call.result() == 12
