"""The README's sessions do what the README shows, against a real server process."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import factstr
from tests.programs import PROGRAMS
from tests.readme.console import steps

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What differs from run to run: times, and how long something took.
VARYING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|\([\d.]+ s, [\d,]+ facts/s\)|(?<=facts, )[\d.]+ (ms|s|m \d+ s)$", re.MULTILINE
)


def section(heading: str) -> str:
    return re.split(rf"^##+ {re.escape(heading)}\n", README, flags=re.MULTILINE)[1].split("\n##")[0]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server process on a file of its own, with its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "factstr_server", "--listen", "localhost:0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr
        yield server.stderr.readline().rpartition(" on ")[2].strip()
    finally:
        server.terminate()
        server.communicate(timeout=30)


def run(command: str, address: str) -> str:
    """What a person sees: both outputs, as on a terminal."""
    environment = os.environ | {
        "FACTSTR_TARGET": address,
        "FACTSTR_FORMAT": "table",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command.replace("localhost:50051", address),
        shell=True,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout


def run_python(section: str, address: str) -> str:
    """What a section's example prints."""
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example.replace("localhost:50051", address)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout


def same(text: str) -> str:
    return VARYING.sub("…", text).strip()


def run_session(address: str) -> None:
    for step in steps(section("A first session")):
        if "activate" not in step.command:
            assert same(run(step.command, address)) == same(step.output), step.command


def test_the_first_session_shows_what_really_happens(address: str) -> None:
    run_session(address)


def test_the_python_example_runs_as_it_stands(address: str) -> None:
    run_session(address)
    assert run_python(section("In Python"), address) == "10\n"


def test_the_streams_show_what_really_happens(address: str) -> None:
    run_session(address)
    tailed, consumed, listed, moved = steps(section("Streams"))
    for step in (tailed, consumed):
        assert same(run(step.command, address)) == same(step.output), step.command
    with factstr.connect(address) as store:
        # The server may hear a moment later than the next command begins that the consumer has gone.
        while store.durable_stream("returns").active:
            pass
    for step in (listed, moved):
        assert same(run(step.command, address)) == same(step.output), step.command
    assert [line.split()[0] for line in run_python(section("Streams"), address).splitlines()] == [
        "6",
        "8",
        "9",
    ]
    assert run(listed.command, address).splitlines()[1].split()[1] == "9"


@pytest.mark.grpcurl
def test_the_grpcurl_session_shows_what_really_happens(address: str) -> None:
    run_session(address)
    grpcurl = PROGRAMS["grpcurl"].found()
    assert grpcurl
    listed, described, queried = steps(section("With grpcurl"))
    assert "factstr.v1.EventStoreService" in run(listed.command.replace("grpcurl", grpcurl, 1), address)
    assert "rpc Query" in run(described.command.replace("grpcurl", grpcurl, 1), address)
    assert same(run(queried.command.replace("grpcurl", grpcurl, 1), address)) == same(queried.output)


def test_the_readme_names_only_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
