"""`factstr.testing` starts a memory server for a test, and stops it."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

import factstr
from factstr.testing import server
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    python = os.environ.get("FACTSTR_TEST_SERVER_PYTHON", sys.executable)
    monkeypatch.setenv("FACTSTR_SERVER", shlex.join([python, "-m", "factstr_server"]))


def test_each_server_is_one_of_its_own_and_empty() -> None:
    for _ in range(2):
        with server() as target, factstr.connect(target) as store:
            assert store.server_info().store_kind == "memory"
            assert store.append(factstr.Event("a", 1)).first_sequence_number == 1


def test_variables_that_are_meant_for_other_servers_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTSTR_LOG_FORMAT", "json")
    monkeypatch.setenv("FACTSTR_TLS_CERT", "nowhere.pem")
    with server() as target, factstr.connect(target) as store:
        assert store.server_info().head_sequence_number == 0


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "import sys; sys.exit('no room for a server')"
    monkeypatch.setenv("FACTSTR_SERVER", shlex.join([sys.executable, "-c", said]))
    with pytest.raises(RuntimeError, match="did not start: no room for a server"), server():
        pass


@pytest.mark.parametrize("named", ["", "factstr-nowhere --store"])
def test_a_command_that_is_not_there_says_what_is_to_be_done(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("FACTSTR_SERVER", named)
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(RuntimeError, match="install factstr-server, or name its command in FACTSTR_SERVER"),
        server(),
    ):
        pass


def test_a_test_that_is_killed_leaves_no_server_behind() -> None:
    test = "from factstr.testing import server\nwith server() as target:\n    print(target, flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", test], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout
        target = killed.stdout.readline().strip()
        killed.send_signal(signal.SIGKILL)
    with factstr.connect(target, retries=factstr.Retries(limit=0)) as store:

        def is_gone() -> bool:
            try:
                store.server_info()
            except factstr.Unavailable:
                return True
            return False

        wait_until(is_gone, "the server is gone")
