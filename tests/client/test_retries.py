"""A call is repeated only when its failure promises that this does no harm, and only so often and so long."""

import grpc
import pytest

import factstr
from factstr.retry import Attempts, Effect, LastingAttempts, Retries, conflict_delays
from tests.client.fake_server import Refusal, busy, conflict
from tests.client.test_errors import Failure

Code = grpc.StatusCode

HARMLESS = [
    busy(),
    Refusal(Code.UNAVAILABLE, "draining", "SERVER_DRAINING"),
    Refusal(Code.UNAVAILABLE, "no store", "STORE_UNAVAILABLE"),
]
AMBIGUOUS = [
    Refusal(Code.UNAVAILABLE, "connection lost"),
    Refusal(Code.DEADLINE_EXCEEDED, "a proxy's patience"),
    Refusal(Code.CANCELLED, "a proxy's mood"),
    Refusal(Code.UNKNOWN, "who knows"),
    Refusal(Code.INTERNAL, "RST_STREAM"),
    Refusal(Code.UNKNOWN, "who knows", "APPEND_OUTCOME_UNKNOWN"),
    Refusal(Code.INTERNAL, "defect", "INTERNAL"),
    Refusal(Code.UNAVAILABLE, "new trouble", "A_REASON_OF_LATER"),
]
FINAL = [
    conflict(1, 2),
    Refusal(Code.INVALID_ARGUMENT, "no", "INVALID_PAYLOAD"),
    Refusal(Code.ALREADY_EXISTS, "no", "IDEMPOTENCY_KEY_REUSED"),
    Refusal(Code.RESOURCE_EXHAUSTED, "no", "STORE_FULL"),
    Refusal(Code.RESOURCE_EXHAUSTED, "no", "QUOTA_EXCEEDED"),
    Refusal(Code.RESOURCE_EXHAUSTED, "message too large"),
    Refusal(Code.UNAUTHENTICATED, "no", "UNAUTHENTICATED"),
    Refusal(Code.DATA_LOSS, "no", "STORE_CORRUPT"),
    # Decided by its reason, although its status alone would do.
    Refusal(Code.UNAVAILABLE, "no", "INVALID_PAYLOAD"),
]


def repeated(refusal: Refusal, effect: Effect) -> bool:
    try:
        Attempts(Retries(), None, effect).delay_after(Failure(refusal))
    except factstr.FactstrError:
        return False
    return True


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("refusal", HARMLESS, ids=lambda refusal: refusal.reason)
def test_what_promises_that_nothing_was_committed_is_repeated_for_every_call(
    refusal: Refusal, effect: Effect
) -> None:
    assert repeated(refusal, effect)


@pytest.mark.parametrize("refusal", AMBIGUOUS, ids=lambda refusal: f"{refusal.code.name}-{refusal.reason}")
def test_what_promises_nothing_is_repeated_for_reads_and_appends_with_a_key_only(refusal: Refusal) -> None:
    assert repeated(refusal, Effect.NONE)
    assert repeated(refusal, Effect.ONCE)
    assert not repeated(refusal, Effect.TWICE)


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("refusal", FINAL, ids=lambda refusal: f"{refusal.code.name}-{refusal.reason}")
def test_what_would_fail_again_or_asks_for_a_new_decision_is_not_repeated(
    refusal: Refusal, effect: Effect
) -> None:
    assert not repeated(refusal, effect)


def test_a_call_is_repeated_only_so_often() -> None:
    attempts = Attempts(Retries(limit=2, first_delay=0), None, Effect.NONE)
    attempts.delay_after(Failure(busy()))
    attempts.delay_after(Failure(busy()))
    with pytest.raises(factstr.ServerBusy):
        attempts.delay_after(Failure(busy()))


def test_no_repetition_starts_after_the_deadline() -> None:
    attempts = Attempts(Retries(first_delay=0), 1.0, Effect.NONE)
    assert attempts.delay_after(Failure(busy(0.1))) == pytest.approx(0.1)
    with pytest.raises(factstr.ServerBusy):
        attempts.delay_after(Failure(busy(2.0)))


def test_a_busy_server_does_not_undo_the_doubt_of_an_attempt_before() -> None:
    attempts = Attempts(Retries(limit=2, first_delay=0), None, Effect.ONCE)
    attempts.delay_after(Failure(AMBIGUOUS[0]))
    attempts.delay_after(Failure(busy()))
    with pytest.raises(factstr.OutcomeUnknown, match=r"the queue is full .*may or may not"):
        attempts.delay_after(Failure(busy()))


def test_the_time_that_is_left_never_grows_and_ends_at_zero() -> None:
    attempts = Attempts(Retries(), 0.0, Effect.NONE)
    assert attempts.remaining() == 0.0
    assert Attempts(Retries(), None, Effect.NONE).remaining() is None
    remaining = Attempts(Retries(), 5.0, Effect.NONE).remaining()
    assert remaining is not None
    assert 0 < remaining <= 5.0


def test_the_delay_doubles_up_to_a_limit_and_is_partly_random() -> None:
    retries = Retries(first_delay=0.1, longest_delay=0.5)
    for repetition, longest in enumerate([0.1, 0.2, 0.4, 0.5, 0.5]):
        delays = {retries.delay(repetition) for _ in range(100)}
        assert longest / 2 <= min(delays) < max(delays) <= longest


def test_the_delay_stays_at_its_limit_for_as_long_as_it_takes() -> None:
    assert 1 <= Retries().delay(100_000) <= 2


def test_what_is_repeated_for_as_long_as_it_takes_ends_when_given_up_and_at_defects() -> None:
    attempts = LastingAttempts(Retries(limit=0, first_delay=0), None, 5.0)
    for _ in range(100):
        attempts.delay_after(Failure(AMBIGUOUS[0]))
    with pytest.raises(factstr.Unavailable):
        attempts.delay_after(Failure(busy(6)))
    with pytest.raises(factstr.ServerError):
        attempts.delay_after(Failure(Refusal(Code.INTERNAL, "defect", "INTERNAL")))


def test_the_time_to_give_up_runs_from_the_first_failure() -> None:
    assert LastingAttempts(Retries(), None, None).remaining() is None
    attempts = LastingAttempts(Retries(first_delay=0), 3.0, 2.0)
    assert attempts.remaining() == 3.0, "nothing has failed yet"
    attempts.delay_after(Failure(AMBIGUOUS[0]))
    left = attempts.remaining()
    assert left is not None
    assert 0 < left <= 2.0


def test_only_a_lease_of_ones_own_that_has_ended_is_waited_out() -> None:
    active = Refusal(Code.FAILED_PRECONDITION, "no", "DURABLE_STREAM_ACTIVE", {"lease_epoch": "7"})
    own = Attempts(Retries(limit=1), 60.0, Effect.TWICE, {7})
    for _ in range(3):
        own.delay_after(Failure(active))
    with pytest.raises(factstr.DurableStreamActive):
        Attempts(Retries(), None, Effect.TWICE, {6}).delay_after(Failure(active))


def test_those_who_lost_the_same_conflict_spread_over_the_whole_delay() -> None:
    first, *_, last = zip(*(conflict_delays(10) for _ in range(200)), strict=True)
    assert 0 <= min(first) < 0.002
    assert 0.008 < max(first) <= 0.01
    assert 0 <= min(last) < 0.1
    assert 0.4 < max(last) <= 0.5


def test_a_decision_waits_between_its_attempts_only() -> None:
    assert len(list(conflict_delays(5))) == 4
    assert list(conflict_delays(1)) == []
    with pytest.raises(ValueError, match="at least 1"):
        conflict_delays(0)
