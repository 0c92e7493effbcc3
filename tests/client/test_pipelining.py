"""What becomes of the appends of a pipeline, whatever happens to its calls: without any server."""

import random
from collections.abc import Callable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstr
from factstr.event import AppendResult
from factstr.pending_append import PendingAppend, UnseenFailures
from factstr.pipelining import Pipelining
from factstr.requests import append_item, append_request
from factstr.resuming import Interrupted
from factstr.retry import Attempts, Effect, Retries
from factstr.v1 import errors_pb2, event_store_service_pb2
from tests.client.fake_server import Refusal
from tests.client.test_errors import Failure
from tests.client.test_retries import AMBIGUOUS, HARMLESS

Code = grpc.StatusCode
LOST = Failure(Refusal(Code.UNAVAILABLE, "connection lost"))
DRAINING = Failure(Refusal(Code.UNAVAILABLE, "draining", "SERVER_DRAINING"))
FULL = Failure(Refusal(Code.RESOURCE_EXHAUSTED, "no room", "STORE_FULL"))


class Pipeline:
    """A pipelining, what was put into it, and the sequence numbers that its server gives."""

    def __init__(self, retries: int = 5, timeout: float | None = None, max_unanswered: int = 1_024) -> None:
        limits = Retries(limit=retries, first_delay=0)
        self.pipelining = Pipelining[PendingAppend](
            lambda: Attempts(limits, timeout, Effect.ONCE), max_unanswered
        )
        self.appends: list[PendingAppend] = []

    def put(self, key: str | None = None, size: int = 1) -> PendingAppend:
        number = len(self.appends) + 1
        request = append_request(factstr.Event(f"e{number}", "x" * size), key)
        self.appends.append(PendingAppend())
        self.pipelining.put(append_item(request), self.appends[-1])
        return self.appends[-1]

    def send(self) -> list[int]:
        """Send the next message; return which appends it holds."""
        message = self.pipelining.message()
        return [] if message is None else [item.correlation_id for item in message.items]

    def answer(self, *correlation_ids: int) -> None:
        self.pipelining.take(
            event_store_service_pb2.AppendStreamResponse(
                outcomes=[
                    event_store_service_pb2.AppendStreamOutcome(
                        correlation_id=correlation_id,
                        committed=event_store_service_pb2.AppendResponse(
                            first_sequence_number=correlation_id
                        ),
                    )
                    for correlation_id in correlation_ids
                ]
            )
        )

    def outcomes(self) -> list[str]:
        """Return how each append stands, in the order in which they were put."""
        for pending, outcome in self.pipelining.settled():
            assert not pending.done()
            UnseenFailures().settle([(pending, outcome)])
        return [self._outcome(pending) for pending in self.appends]

    def _outcome(self, pending: PendingAppend) -> str:
        if not pending.done():
            return "open"
        error = pending.exception()
        return "committed" if error is None else type(error).__name__


def test_what_waits_goes_together_in_order_and_an_answer_is_of_the_first_that_was_sent() -> None:
    pipeline = Pipeline()
    for _ in range(3):
        pipeline.put()
    assert pipeline.send() == [1, 2, 3]
    pipeline.put()
    pipeline.answer(1, 2)
    assert pipeline.outcomes() == ["committed", "committed", "open", "open"]
    assert pipeline.send() == [4]
    assert pipeline.send() == []
    pipeline.answer(3, 4)
    assert pipeline.outcomes() == ["committed"] * 4
    assert [pending.result().first_sequence_number for pending in pipeline.appends] == [1, 2, 3, 4]
    assert not pipeline.pipelining.is_unanswered()


def test_a_message_holds_about_a_mebibyte_and_at_least_one_append() -> None:
    pipeline = Pipeline()
    for size in (600_000, 600_000, 300_000, 3_000_000, 1):
        pipeline.put(size=size)
    assert [pipeline.send() for _ in range(5)] == [[1], [2, 3], [4], [5], []]


@pytest.mark.parametrize(("count", "size"), [(10, 1), (9, 1_000_000)])
def test_there_is_room_for_so_many_appends_and_so_many_bytes(count: int, size: int) -> None:
    pipeline = Pipeline(max_unanswered=10)
    for _ in range(count):
        assert pipeline.pipelining.has_room()
        pipeline.put(size=size)
    assert not pipeline.pipelining.has_room()
    pipeline.send()
    pipeline.answer(1)
    assert pipeline.pipelining.has_room()


@pytest.mark.parametrize("refusal", HARMLESS, ids=lambda refusal: refusal.reason)
def test_what_certainly_was_not_committed_is_sent_again_in_order(refusal: Refusal) -> None:
    pipeline = Pipeline()
    for key in (None, "k", None):
        pipeline.put(key)
    assert pipeline.send() == [1, 2, 3]
    pipeline.put()
    pipeline.answer(1)
    pipeline.pipelining.interrupted(Failure(refusal))
    assert pipeline.outcomes() == ["committed", "open", "open", "open"]
    assert pipeline.send() == [2, 3, 4]


@pytest.mark.parametrize("refusal", AMBIGUOUS, ids=lambda refusal: f"{refusal.code.name}-{refusal.reason}")
def test_after_a_failure_that_promises_nothing_only_what_has_a_key_or_was_not_sent_goes_on(
    refusal: Refusal,
) -> None:
    pipeline = Pipeline()
    for key in ("a", None, "b"):
        pipeline.put(key)
    pipeline.send()
    pipeline.put()
    pipeline.pipelining.interrupted(Failure(refusal))
    assert pipeline.outcomes() == ["open", "OutcomeUnknown", "open", "open"]
    assert pipeline.send() == [1, 3, 4]
    pipeline.answer(1, 3, 4)
    assert pipeline.outcomes() == ["committed", "OutcomeUnknown", "committed", "committed"]


def test_what_will_not_pass_fails_everything_unanswered_and_commits_nothing() -> None:
    pipeline = Pipeline()
    pipeline.put()
    pipeline.send()
    pipeline.put("k")
    assert pipeline.pipelining.interrupted(FULL) == 0
    assert pipeline.outcomes() == ["StoreFull", "StoreFull"]
    assert not pipeline.pipelining.is_unanswered()
    pipeline.put()
    assert pipeline.send() == [3], "an appender goes on after failures"


def test_a_doubt_is_not_undone_by_a_later_failure_of_another_kind() -> None:
    pipeline = Pipeline()
    pipeline.put("k")
    pipeline.send()
    pipeline.pipelining.interrupted(LOST)
    pipeline.put()
    assert pipeline.send() == [1, 2]
    pipeline.pipelining.interrupted(FULL)
    assert pipeline.outcomes() == ["OutcomeUnknown", "StoreFull"]


def test_when_a_server_does_not_come_back_what_was_never_sent_is_not_in_doubt() -> None:
    pipeline = Pipeline(retries=2)
    pipeline.put("k")
    pipeline.send()
    pipeline.put("l")
    for _ in range(3):
        assert pipeline.outcomes() == ["open", "open"]
        pipeline.pipelining.interrupted(LOST)
    assert pipeline.outcomes() == ["OutcomeUnknown", "Unavailable"]
    assert "this append was not sent" in str(pipeline.appends[1].exception())


def test_each_answer_renews_the_patience() -> None:
    pipeline = Pipeline(retries=1)
    for number in range(1, 11):
        pipeline.put("k")
        pipeline.send()
        pipeline.pipelining.interrupted(LOST)
        pipeline.send()
        pipeline.answer(number)
    assert pipeline.outcomes() == ["committed"] * 10


def test_a_pipeline_is_overdue_only_while_something_is_unanswered() -> None:
    pipeline = Pipeline(timeout=0)
    assert not pipeline.pipelining.is_overdue()
    pipeline.put("k")
    assert pipeline.pipelining.is_overdue()
    pipeline.send()
    pipeline.answer(1)
    assert not pipeline.pipelining.is_overdue()
    assert not Pipeline(timeout=60).pipelining.is_overdue()


def test_an_interruption_while_nothing_is_unanswered_means_nothing() -> None:
    pipeline = Pipeline(retries=0)
    assert pipeline.pipelining.interrupted(DRAINING) == 0
    pipeline.put()
    assert pipeline.send() == [1]


@pytest.mark.parametrize("wrong", [2, 7])
def test_an_answer_out_of_turn_is_believed_no_more_than_the_rest(wrong: int) -> None:
    pipeline = Pipeline()
    pipeline.put("k")
    pipeline.put("l")
    pipeline.send()
    pipeline.put("m")
    with pytest.raises(Interrupted) as raised:
        pipeline.answer(wrong)
    pipeline.pipelining.interrupted(raised.value)
    assert pipeline.outcomes() == ["OutcomeUnknown", "OutcomeUnknown", "Unavailable"]


def test_at_its_end_only_what_was_sent_is_in_doubt() -> None:
    pipeline = Pipeline()
    pipeline.put("k")
    pipeline.send()
    pipeline.pipelining.interrupted(LOST)
    pipeline.put()
    pipeline.pipelining.closed("it was closed")
    assert pipeline.outcomes() == ["OutcomeUnknown", "StoreClosed"]
    pipeline.put()
    pipeline.send()
    pipeline.pipelining.closed("it was closed")
    assert pipeline.outcomes()[2:] == ["OutcomeUnknown"]


def test_a_refused_append_says_what_the_unary_call_would_say() -> None:
    pipeline = Pipeline()
    for _ in range(3):
        pipeline.put()
    pipeline.send()
    versions = errors_pb2.ConditionalAppendConflict(expected_context_version=3, actual_context_version=5)
    failures = [
        event_store_service_pb2.AppendFailure(
            code=10,
            reason=errors_pb2.ERROR_REASON_CONDITIONAL_APPEND_CONFLICT,
            message="c",
            conflict=versions,
        ),
        event_store_service_pb2.AppendFailure(
            code=3,
            reason=errors_pb2.ERROR_REASON_BATCH_TOO_LARGE,
            message="b",
            metadata={"limit": "7"},
            field_violations=[errors_pb2.FieldViolation(field="events", description="too many")],
        ),
        event_store_service_pb2.AppendFailure(code=8, message="of a later version"),
    ]
    failures[2].reason = 999  # type: ignore[assignment]  # a reason that this version does not know
    pipeline.pipelining.take(
        event_store_service_pb2.AppendStreamResponse(
            outcomes=[
                event_store_service_pb2.AppendStreamOutcome(correlation_id=number, failure=failure)
                for number, failure in enumerate(failures, 1)
            ]
        )
    )
    assert pipeline.outcomes() == ["ConditionalAppendConflict", "BatchTooLarge", "Unavailable"]
    conflict, too_large, unknown = (pending.exception() for pending in pipeline.appends)
    assert isinstance(conflict, factstr.ConditionalAppendConflict)
    assert (conflict.expected, conflict.actual, conflict.reason, conflict.code) == (
        3,
        5,
        "CONDITIONAL_APPEND_CONFLICT",
        Code.ABORTED,
    )
    assert isinstance(too_large, factstr.BatchTooLarge)
    assert (too_large.metadata, too_large.field_violations[0].description) == ({"limit": "7"}, "too many")
    assert isinstance(unknown, factstr.Unavailable)
    assert (unknown.reason, unknown.code) == (None, Code.RESOURCE_EXHAUSTED)


def test_the_first_failure_that_nobody_has_looked_at_is_raised_and_the_others_are_counted() -> None:
    unseen, appends = UnseenFailures(), [PendingAppend() for _ in range(5)]
    for number, pending in enumerate(appends):
        unseen.settle([(pending, factstr.StoreFull(str(number)) if number else _result())])
    appends[1].exception()
    with pytest.raises(factstr.StoreFull, match="2") as raised:
        unseen.throw()
    assert raised.value.__notes__ == ["the first of 3 failed appends whose result nobody looked at"]
    unseen.throw()


def test_of_very_many_failures_the_first_unseen_one_is_still_known() -> None:
    unseen = UnseenFailures()
    for number in range(5_000):
        pending = PendingAppend()
        unseen.settle([(pending, factstr.StoreFull(str(number)))])
        if number < 3_000:
            pending.exception()
    with pytest.raises(factstr.StoreFull, match="3000"):
        unseen.throw()


def test_failures_beyond_those_that_are_kept_are_counted_and_raised_as_well() -> None:
    unseen, appends = UnseenFailures(), [PendingAppend() for _ in range(5_000)]
    unseen.settle((pending, factstr.StoreFull(str(number))) for number, pending in enumerate(appends))
    for pending in appends[:4_000]:
        pending.exception()
        pending.exception()
    with pytest.raises(factstr.StoreFull) as raised:
        unseen.throw()
    assert raised.value.__notes__ == ["the first of 1,000 failed appends whose result nobody looked at"]
    appends[-1].exception()
    unseen.throw()


def test_an_outcome_of_a_later_version_is_in_doubt() -> None:
    pipeline = Pipeline()
    pipeline.put()
    pipeline.send()
    unknown = event_store_service_pb2.AppendStreamOutcome(correlation_id=1)
    pipeline.pipelining.take(event_store_service_pb2.AppendStreamResponse(outcomes=[unknown]))
    assert pipeline.outcomes() == ["OutcomeUnknown"]
    assert "does not know" in str(pipeline.appends[0].exception())


def _result() -> AppendResult:
    return AppendResult.from_proto(event_store_service_pb2.AppendResponse())


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 200))
def test_whatever_happens_each_append_is_settled_once_and_what_is_committed_is_in_order(
    seed: int, steps: int
) -> None:
    """A server that commits what it gets, loses answers, drains and fails; and a log that shows what came of it."""
    chance, pipeline = random.Random(seed), Pipeline(retries=3)
    server = _Server(pipeline, chance)
    for _ in range(steps):
        chance.choice([server.put, server.put, server.receive, server.answer, server.fail])()
    while pipeline.pipelining.is_unanswered():
        server.receive()
        server.answer()
    outcomes = pipeline.outcomes()
    assert "open" not in outcomes
    assert set(outcomes) <= {"committed", "OutcomeUnknown", "StoreFull", "Unavailable"}
    assert len(set(server.log)) == len(server.log), "nothing is committed twice"
    assert server.log == sorted(server.log), "in the order of the caller"
    assert {number for number, outcome in enumerate(outcomes, 1) if outcome == "committed"} <= set(server.log)
    refused = {
        number for number, outcome in enumerate(outcomes, 1) if outcome in ("StoreFull", "Unavailable")
    }
    assert not refused & set(server.log)


class _Server:
    """Commits a prefix of what it has received, each key once."""

    def __init__(self, pipeline: Pipeline, chance: random.Random) -> None:
        self._pipeline, self._chance = pipeline, chance
        self._received: list[int] = []
        self._answered_to: list[int] = []
        self.log: list[int] = []
        self._keyed: set[int] = set()

    def put(self) -> None:
        number = len(self._pipeline.appends) + 1
        if self._chance.random() < 0.5:
            self._keyed.add(number)
        self._pipeline.put(f"k{number}" if number in self._keyed else None)

    def receive(self) -> None:
        self._received += self._pipeline.send()

    def answer(self) -> None:
        some = self._chance.randint(0, len(self._received))
        committed, self._received = self._received[:some], self._received[some:]
        self._commit(committed)
        self._pipeline.answer(*committed)

    def fail(self) -> None:
        failures: list[tuple[grpc.RpcError, Callable[[], None]]] = [
            (DRAINING, lambda: None),
            (FULL, lambda: None),
            (LOST, lambda: self._commit(self._received[: self._chance.randint(0, len(self._received))])),
        ]
        failure, before = self._chance.choice(failures)
        before()
        self._received = []
        self._pipeline.pipelining.interrupted(failure)

    def _commit(self, numbers: list[int]) -> None:
        for number in numbers:
            assert number not in self.log or number in self._keyed
            if number not in self.log:
                self.log.append(number)
