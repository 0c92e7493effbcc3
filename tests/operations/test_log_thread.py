"""Whoever reads the log slowly, or a place that takes no more, holds nobody up."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from factstr_server.telemetry import log_thread
from factstr_server.telemetry.log_thread import LogThread
from tests.security.calls import append
from tests.security.conftest import channel_to
from tests.waiting import wait_until


def test_lines_are_written_in_order() -> None:
    reading, writing = os.pipe()
    log = LogThread(writing)
    for number in range(100):
        log.write(f"{number}\n")
    log.drain(10)
    assert os.read(reading, 10_000).split() == [str(number).encode() for number in range(100)]


def test_lines_that_find_no_room_are_counted_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_thread, "MOST_LINES", 10)
    reading, writing = os.pipe()
    log = LogThread(writing)
    first = "x" * 1_000_000
    log.write(first)
    wait_until(lambda: log._writing, "it is stuck")
    for _ in range(30):
        log.write("line\n")
    log.drain(0.01)
    said = b""
    while not said.endswith(b"no room\n"):
        said += os.read(reading, 1 << 20)
    assert said.removeprefix(first.encode()).splitlines() == [
        *[b"line"] * 10,
        b"factstr-server: 20 lines of the log found no room",
    ]


def test_what_cannot_be_written_is_forgotten() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = LogThread(writing)
    log.write("lost\n")
    log.drain(10)
    log.write("lost too\n")
    log.drain(10)
    assert not log._lines


def started(folder: Path, stderr: int, *flags: str, shell: str = "") -> subprocess.Popen[bytes]:
    command: Sequence[str] = [sys.executable, "-m", "factstr_server", "--store", "memory:", *flags]
    command = [*command, "--listen", f"unix:{folder}/s", "--drain-seconds", "3"]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)


async def test_a_server_whose_log_nobody_reads_serves_and_ends_in_time(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    server = started(tmp_path, writing, "--log-calls", "all", "--log-format", "json")
    try:
        wait_until((tmp_path / "s").is_socket, "it listens")
        async with channel_to(f"unix:{tmp_path}/s") as channel:
            for _ in range(8):
                # Far more lines than the pipe takes.
                assert set(await asyncio.gather(*(append(channel) for _ in range(250)))) == {None}
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 20) == 0
        assert time.monotonic() - began < 6
    finally:
        server.kill()
        server.wait()
    json.loads(os.read(reading, 4_096).splitlines()[0])


@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-"])
async def test_a_server_whose_log_goes_nowhere_serves_and_ends_in_order(tmp_path: Path, shell: str) -> None:
    server = started(tmp_path, subprocess.DEVNULL, shell=shell)
    try:
        wait_until((tmp_path / "s").is_socket, "it listens")
        async with channel_to(f"unix:{tmp_path}/s") as channel:
            assert await append(channel) is None
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 20) == 0
    finally:
        server.kill()
        server.wait()
