"""What the client's tests share: a fake server on a free port, stores that talk to it, and a real server."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import factstr
from tests.client.command import Command
from tests.client.fake_server import FakeServer, serve
from tests.client.fake_streams import StreamingServer
from tests.client.server_process import Server

IMPATIENT = factstr.Retries(first_delay=0)


@pytest.fixture
def fake() -> Iterator[StreamingServer]:
    fake = StreamingServer()
    server = serve(fake)
    yield fake
    server.stop(None).wait()


@pytest.fixture
def store(fake: FakeServer) -> Iterator[factstr.EventStore]:
    with factstr.connect(fake.target, retries=IMPATIENT) as store:
        yield store


@pytest.fixture
async def aio_store(fake: FakeServer) -> AsyncIterator[factstr.aio.EventStore]:
    async with factstr.aio.connect(fake.target, retries=IMPATIENT) as store:
        yield store


@pytest.fixture
def factstr_command(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    for name in list(os.environ):
        if name.startswith("FACTSTR_"):
            monkeypatch.delenv(name)
    return Command(fake, capsys, monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()
