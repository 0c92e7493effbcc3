"""When an interrupted stream is taken up again, and how long it waits for a sign of life."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import factstr
from factstr.consuming import Consuming
from factstr.durable_requests import stream_all_durable_request
from factstr.following import LiveFollowing
from factstr.resuming import Interrupted, Resumption
from tests.client.fake_server import Refusal, busy
from tests.client.fake_streams import Durable, durable_started, live_batches, live_started
from tests.client.test_errors import Failure

LOST = Failure(Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost"))
SECOND = Duration(seconds=1)


def resumption(
    *, limit: int = 2, first_delay: float = 0, timeout: float | None = 30, give_up_after: float | None = None
) -> Resumption:
    return Resumption(factstr.Retries(limit, first_delay), timeout, give_up_after, set())


def test_until_it_has_begun_a_stream_has_the_attempts_of_any_other_call() -> None:
    opening = resumption(limit=2)
    opening.delay_after(LOST)
    opening.delay_after(LOST)
    with pytest.raises(factstr.Unavailable):
        opening.delay_after(LOST)


def test_a_stream_that_has_begun_is_taken_up_as_often_as_it_takes() -> None:
    begun = resumption(limit=0)
    begun.opened(SECOND)
    for _ in range(1_000):
        begun.delay_after(LOST)


def test_a_stream_is_given_up_after_the_time_that_it_may_be_interrupted() -> None:
    begun = resumption(give_up_after=5)
    begun.opened(SECOND)
    begun.delay_after(LOST)
    with pytest.raises(factstr.ServerBusy):
        begun.delay_after(Failure(busy(6)))


def test_the_delay_that_a_server_asks_for_is_kept() -> None:
    begun = resumption()
    begun.opened(SECOND)
    assert begun.delay_after(Failure(busy(7))) == 7


def test_a_server_that_fails_after_each_beginning_is_asked_less_and_less_often() -> None:
    begun = resumption(first_delay=0.1)
    begun.opened(SECOND)
    assert begun.delay_after(LOST) <= 0.1
    begun.opened(SECOND)
    assert 0.1 <= begun.delay_after(LOST) <= 0.2
    begun.opened(SECOND)
    begun.progressed()
    assert begun.delay_after(LOST) <= 0.1


def test_a_batch_shows_that_the_server_is_well_again() -> None:
    begun = resumption(first_delay=0.1)
    following = LiveFollowing(None, begun)
    for _ in range(3):
        following.take(live_started())
        following.take(live_batches((1, 1)))
        assert following.delay_after(LOST) <= 0.1


def test_a_stream_that_has_begun_again_waits_for_as_long_as_before_its_interruption() -> None:
    begun = resumption(timeout=3)
    begun.opened(SECOND)
    begun.delay_after(LOST)
    begun.opened(SECOND)
    assert begun.patience() == 8


def test_a_defect_of_the_server_ends_a_stream_instead_of_being_met_for_ever() -> None:
    begun = resumption()
    begun.opened(SECOND)
    with pytest.raises(factstr.ServerError):
        begun.delay_after(Failure(Refusal(grpc.StatusCode.INTERNAL, "defect", "INTERNAL")))


def test_silence_is_three_heartbeats_and_some_seconds() -> None:
    opening = resumption(timeout=None)
    assert opening.patience() == 35
    opening.opened(SECOND)
    assert opening.patience() == 8
    opening.opened(Duration())
    assert opening.patience() == 35


def test_the_beginning_is_not_waited_for_longer_than_any_call() -> None:
    opening = resumption(timeout=3)
    assert 0 < opening.patience() <= 3
    opening.opened(Duration(seconds=10))
    assert opening.patience() == 35
    opening.delay_after(LOST)
    assert 0 < opening.patience() <= 3


def test_who_waits_for_a_lease_waits_on_over_failures() -> None:
    opening = resumption(limit=1, timeout=3)
    opening.waits()
    for _ in range(10):
        opening.delay_after(LOST)


def test_what_is_said_before_the_beginning_lengthens_nothing() -> None:
    opening = resumption(limit=1, timeout=3)
    opening.progressed()
    assert opening.patience() <= 3
    opening.delay_after(LOST)
    opening.progressed()
    with pytest.raises(factstr.Unavailable):
        opening.delay_after(LOST)


def test_an_interruption_is_as_good_as_a_lost_connection() -> None:
    with pytest.raises(factstr.Unavailable, match="nothing for 8 s") as raised:
        resumption(limit=0).delay_after(Interrupted("the server said nothing for 8 s"))
    assert raised.value.reason is None


def test_what_came_in_a_message_is_kept_whatever_a_callback_raises_because_of_it() -> None:
    def refuse(error: factstr.FactstrError | None) -> None:
        raise LookupError(error)

    interrupted = Resumption(factstr.Retries(2, 0), 30, None, set(), refuse)
    stream = LiveFollowing(0, interrupted)
    stream.take(live_started())
    # An acknowledgement meets the interruption first.
    with pytest.raises(LookupError):
        interrupted.attempts().delay_after(LOST)
    with pytest.raises(LookupError):
        stream.take(live_batches((1, 1)))
    assert stream.hand_over().last_sequence_number == 1


@pytest.mark.parametrize(
    "second",
    [durable_started(0, 7), durable_started(9, 7, history_id="another")],
    ids=["reset", "another log"],
)
def test_a_lease_that_came_with_the_end_of_the_stream_is_ended_too(second: Durable) -> None:
    ended: set[int] = set()
    request = stream_all_durable_request("s", 0, None, wait_for_lease=False)
    consuming = Consuming(request, None, Resumption(factstr.Retries(2, 0), 30, None, ended))
    consuming.take(durable_started(5, 1))
    with pytest.raises((factstr.LeaseLost, factstr.LogDiverged)):
        consuming.take(second)
    consuming.end_lease()
    assert ended == {7}
