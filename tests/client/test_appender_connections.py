"""What was never sent is never in doubt, and how long an appender waits for a server is a matter of time alone."""

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import factstr
from tests.client.appending import DRAINING, Connect, Held, Store, event, numbers
from tests.client.fake_server import FakeServer, serve
from tests.waiting import wait_until


@pytest.fixture
def nobody() -> Iterator[socket.socket]:
    """A port of the loopback address at which nobody listens yet, and that nobody else gets."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


def target(of: socket.socket) -> str:
    return f"127.0.0.1:{of.getsockname()[1]}"


@pytest.mark.parametrize("key", [None, "k"])
def test_a_server_that_is_not_there_is_given_up_after_the_timeout(
    nobody: socket.socket, connect: Connect, key: str | None
) -> None:
    with connect(target(nobody)).appender(timeout=0.5) as appender:
        appends = [appender.append(event(n), idempotency_key=key and f"{key}{n}") for n in range(20)]
        errors = [append.exception() for append in appends]
    assert {type(error) for error in errors} == {factstr.Unavailable}
    assert all("this append was not sent" in str(error) for error in errors)


def test_a_server_that_never_answers_the_connection_is_given_up_after_the_timeout(
    nobody: socket.socket, connect: Connect
) -> None:
    # It accepts, and then says nothing: there never is a connection of HTTP/2.
    nobody.listen()
    with connect(target(nobody)).appender(timeout=0.5) as appender:
        error = appender.append(event(0)).exception()
    assert isinstance(error, factstr.Unavailable)
    assert "this append was not sent" in str(error)


def test_cancelling_does_not_wait_for_a_connection(nobody: socket.socket, connect: Connect) -> None:
    nobody.listen()
    appender = connect(target(nobody)).appender().__enter__()
    append = appender.append(event(0))
    appender.cancel()
    error = append.exception()
    assert isinstance(error, factstr.StoreClosed)
    assert str(error) == "the appender was cancelled before this append was sent"


def test_a_server_that_comes_later_is_waited_for_however_often_that_is_tried(
    fake: FakeServer, appending: Store
) -> None:
    fake.instead = [DRAINING] * 100
    with appending.appender() as appender:
        appender.append(event(0))
    assert (numbers(fake), fake.instead) == ([0], [])


class Noticed(factstr.Retries):
    """Says when something has failed."""

    __slots__ = ()
    failed = threading.Event()

    def delay(self, repetition: int) -> float:
        self.failed.set()
        return super().delay(repetition)


def test_what_is_put_before_the_server_is_there_is_not_in_doubt(connect: Connect, tmp_path: Path) -> None:
    Noticed.failed.clear()
    late, path = FakeServer(), tmp_path / "late.sock"
    store = connect(f"unix:{path}", retries=Noticed(first_delay=0.01, longest_delay=0.1))
    with store.appender() as appender:
        for n in range(200):
            appender.append(event(n))
        assert Noticed.failed.wait(30)
        server = serve(late, path=path)
    assert numbers(late) == list(range(200))
    server.stop(None).wait()


def test_who_repeats_nothing_gives_up_at_once(nobody: socket.socket, connect: Connect) -> None:
    store = connect(target(nobody), retries=factstr.Retries(limit=0))
    with store.appender(timeout=sys.maxsize) as appender:
        assert isinstance(appender.append(event(0), idempotency_key="k").exception(), factstr.Unavailable)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_cannot_pass_is_refused(appending: Store, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        appending.appender(timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", True])
def test_a_timeout_that_is_no_number_is_refused(appending: Store, timeout: float) -> None:
    with pytest.raises(TypeError, match="a number of seconds or None"):
        appending.appender(timeout=timeout)


def test_a_server_that_does_not_end_the_call_holds_nobody_up_who_has_every_answer(
    fake: FakeServer, appending: Store
) -> None:
    may_end = threading.Event()
    fake.before_end_of_append_stream = lambda: may_end.wait(60)
    with appending.appender() as appender:
        appender.append(event(0)).result()
    assert not may_end.is_set()
    may_end.set()
    assert numbers(fake) == [0]


def test_the_time_of_the_callers_callbacks_is_not_counted_as_silence(
    fake: FakeServer, store: factstr.EventStore
) -> None:
    held, slow = Held(fake, after=1), threading.Event()
    with store.appender(timeout=1) as appender:
        appender.append(event(0)).add_done_callback(lambda _: slow.wait(2.5))
        wait_until(lambda: numbers(fake) == [0], "the first is committed")
        second = appender.append(event(1))
        held.arrived.wait(30)
        held.may_go_on.set()
        assert second.result().first_sequence_number == 2
