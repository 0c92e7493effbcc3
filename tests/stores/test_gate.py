"""The gate before a SQLite file: many readers, or one who is alone with it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from factstr_server.stores.sqlite.gate import Gate

PATIENCE_SECONDS = 20


class Alone:
    """A thread that shuts the gate, and opens it again when it is told to."""

    def __init__(self, gate: Gate) -> None:
        self.is_alone = threading.Event()
        self.may_go = threading.Event()
        self._thread = threading.Thread(target=self._shut, args=(gate,), daemon=True)
        self._thread.start()

    def _shut(self, gate: Gate) -> None:
        with gate.shut():
            self.is_alone.set()
            self.may_go.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        self.may_go.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_any_number_is_inside_at_once(gate: Gate) -> None:
    with gate.passed(), gate.passed(), gate.passed_at_once() as inside:
        assert inside


def test_who_shuts_it_is_alone_once_the_last_has_left(gate: Gate) -> None:
    with gate.passed():
        with gate.passed_at_once():
            alone = Alone(gate)
        # From then on nobody else comes in.
        while True:
            with gate.passed_at_once() as inside:
                if not inside:
                    break
        assert not alone.is_alone.is_set()
    assert alone.is_alone.wait(PATIENCE_SECONDS)
    alone.end()


def test_who_comes_to_a_shut_gate_waits_or_is_told(gate: Gate, ends: ExitStack) -> None:
    alone = Alone(gate)
    ends.callback(alone.end)
    assert alone.is_alone.wait(PATIENCE_SECONDS)
    with gate.passed_at_once() as inside:
        assert not inside
    passed = threading.Event()

    def pass_it() -> None:
        with gate.passed():
            passed.set()

    waiting = threading.Thread(target=pass_it, daemon=True)
    waiting.start()
    assert not passed.is_set()
    alone.may_go.set()
    assert passed.wait(PATIENCE_SECONDS)
    waiting.join(PATIENCE_SECONDS)


def test_it_opens_again_when_who_shut_it_fails(gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError), gate.shut():
        raise ZeroDivisionError
    with gate.passed_at_once() as inside:
        assert inside
