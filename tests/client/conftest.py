"""What the client's tests share: a fake server on a free port, stores that talk to it, and a real server."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import factstr
from tests.client.appending import AioStore, Connect, Store
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


@pytest.fixture(params=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Connects to a target with the synchronous or the asyncio store."""
    with ExitStack() as stores:

        def connect(target: str, **settings: Any) -> Store:
            settings = {"retries": IMPATIENT, **settings}
            if request.param == "sync":
                store = factstr.connect(target, **settings)
                stores.callback(store.close)
                return store
            aio_store = AioStore(target, **settings)
            stores.callback(aio_store.end)
            return aio_store

        yield connect


@pytest.fixture
def appending(connect: Connect, fake: FakeServer) -> Store:
    return connect(fake.target)


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
