"""On a terminal the command is readable and shows its progress; when the other side goes away it ends quietly."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from factstr.cli.progress import Progress
from tests.client.command import Command
from tests.client.fake_server import FakeServer


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdout and stderr a terminal 60 columns wide. No fixture, because the streams are new in each phase."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def factstr_process(fake: FakeServer, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "factstr", *arguments],
        env={**os.environ, "FACTSTR_TARGET": fake.target},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run_factstr(
    fake: FakeServer, *arguments: str, stdout: BinaryIO | int = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run it without the user's own word on what gRPC writes."""
    ours = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    return subprocess.run(
        [sys.executable, "-m", "factstr", *arguments],
        env={**ours, "FACTSTR_TARGET": fake.target, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_terminal_gets_a_table_that_fits(
    fake: FakeServer, factstr_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_terminal(monkeypatch)
    fake.store(("a", "x" * 100), ("b", "大" * 100), ("c", 1))
    lines = factstr_command("query").out.splitlines()
    assert lines[0] == '\x1b[2m1  2023-11-14T22:13:21.654321Z\x1b[0m  a  "' + "x" * 23 + "…"
    assert lines[1] == '\x1b[2m2  2023-11-14T22:13:22.654321Z\x1b[0m  b  "' + "大" * 11 + "…"
    assert lines[2] == "\x1b[2m3  2023-11-14T22:13:23.654321Z\x1b[0m  c  1"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_done_without(
    fake: FakeServer, factstr_command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    fake.store(("a", 1))
    assert "\x1b" not in factstr_command("query").out


def test_appends_and_imports_are_reported_in_words(
    factstr_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_terminal(monkeypatch)
    event = ("--type", "a", "--payload", "1", "--idempotency-key", "k")
    assert factstr_command("append", *event).out == "1 fact committed as 1 at 2023-11-14T22:13:21.654321Z\n"
    assert factstr_command("append", *event).out.startswith("1 fact had been committed before as 1 at ")
    two = b'{"event_type":"a","payload":1}\n' * 2
    assert factstr_command("append", "-", stdin=two).out.startswith("2 facts committed as 2 to 3 at ")
    assert factstr_command("import", stdin=two).out.startswith("<stdin>: 2 facts, 2 new, 0 already there (")


def test_progress_shows_count_rate_and_share(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.setattr("factstr.cli.progress.monotonic", map(float, itertools.count()).__next__)
    with Progress("facts.ndjson") as progress:
        progress.add(3_000, 0.5)
        progress.add(3_000)
    drawn = capsys.readouterr().err.split("\r\x1b[K")
    assert drawn[1].startswith("facts.ndjson  [████████████░░░░░░░░░░░░]  50%  3,000 facts  ")
    assert drawn[1].endswith("/s")
    assert drawn[2].startswith("facts.ndjson  6,000 facts  ")
    # The bar is wiped away at the end.
    assert drawn[3:] == [""]


def test_progress_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("facts.ndjson") as progress:
        progress.add(3_000, 0.5)
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_ends_the_command_quietly(fake: FakeServer) -> None:
    fake.store(*(("a", "x" * 10_000) for _ in range(100)))
    with factstr_process(fake, "query") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"sequence_number":1,')
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [("query",), ("export",), ("info",), ("export", "/dev/full")])
def test_an_output_that_is_full_is_named(fake: FakeServer, arguments: tuple[str, ...]) -> None:
    fake.store(*(("a", "x" * 10_000) for _ in range(10)))
    with Path("/dev/full").open("wb") as full:
        done = run_factstr(fake, *arguments, stdout=full)
    place = "/dev/full" if "/dev/full" in arguments else "standard output"
    assert (done.returncode, done.stderr) == (1, f"factstr: {place}: No space left on device\n")


def test_grpc_adds_nothing_to_what_the_command_says(fake: FakeServer) -> None:
    done = run_factstr(fake, "--tls", "info")
    assert done.stderr.count("\n") == 1
    assert "does not seem to speak TLS" in done.stderr


def test_grpc_may_speak_when_the_user_says_so(fake: FakeServer) -> None:
    done = run_factstr(fake, "--tls", "info", GRPC_VERBOSITY="INFO")
    assert "Handshake failed" in done.stderr


def test_the_library_leaves_grpc_as_it_is() -> None:
    code = "import os, factstr; factstr.connect(); print(os.environ.get('GRPC_VERBOSITY'), factstr.errors.__name__)"
    ours = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run([sys.executable, "-c", code], env=ours, capture_output=True, text=True, check=True)
    assert done.stdout == "None factstr.errors\n"


def test_an_import_that_the_user_stops_says_how_to_go_on(fake: FakeServer) -> None:
    second_append = threading.Event()
    fake.on_call = lambda: second_append.set() if len(fake.requests) == 3 else None
    line = b'{"event_type":"a","payload":1}\n'
    with factstr_process(fake, "import", "--batch", "2", "--idempotency-prefix", "p") as process:
        assert process.stdin is not None
        # More than its read buffer holds, then silence: it waits for the rest.
        process.stdin.write(line * 2_000)
        process.stdin.flush()
        assert second_append.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert process.returncode == 130
    assert "factstr: stopped; " in errors
    assert errors.endswith("go on with --idempotency-prefix p --batch 2\n")
    assert "Traceback" not in errors
