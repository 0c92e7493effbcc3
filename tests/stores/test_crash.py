"""A server killed under load: every acknowledged append is in the log once, where its answer said; nothing is torn."""

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr.v1.event_store_service_pb2_grpc import EventStoreServiceStub
from tests.conformance.direct import Direct
from tests.conformance.driver import Driver, NewFact, Options, of_type
from tests.conformance.wire import new_events
from tests.stores.opened import url_of

ROUNDS = 3
CLIENTS = 8


@asynccontextmanager
async def server_process(database: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server of its own process, and its address. Killed at the end, if it was not before."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "factstr_server", "--store", url_of(database), "--listen", "127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stderr
        said = b""
        while not (found := re.search(rb" on (127\.0\.0\.1:\d+)", said)):
            line = await process.stderr.readline()
            assert line, f"the server ended: {said.decode()}"
            said += line
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Load:
    """Clients that append until the server is gone, and what they were told."""

    def __init__(self) -> None:
        self.sent: dict[str, list[NewFact]] = {}
        self.acknowledged: dict[str, pb.AppendResponse] = {}
        self.enough = asyncio.Event()

    async def client(self, address: str, name: str, enough: int) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = EventStoreServiceStub(channel)
            for number in range(10**6):
                key = f"{name}-{number}"
                self.sent[key] = [
                    NewFact("load", f'{{"key": "{key}", "i": {i}}}') for i in range(1 + number % 3)
                ]
                request = pb.AppendRequest(events=new_events(self.sent[key]), idempotency_key=key)
                try:
                    self.acknowledged[key] = await stub.Append(request)
                except grpc.aio.AioRpcError:
                    return
                if len(self.acknowledged) >= enough:
                    self.enough.set()


async def kept(store: Driver, load: Load) -> None:
    """Compares the log with what was acknowledged, and repeats everything that was sent."""
    facts = (await store.query()).facts
    assert [fact.sequence_number for fact in facts] == list(range(1, len(facts) + 1))
    assert (await store.query(of_type("load"))).numbers == [fact.sequence_number for fact in facts]
    for key, answer in load.acknowledged.items():
        told = range(answer.first_sequence_number, answer.last_sequence_number + 1)
        assert [facts[n - 1].appended for n in told] == load.sent[key]
        assert {facts[n - 1].occurred_at for n in told} == {answer.occurred_at.ToMicroseconds()}
    head = len(facts)
    for key, sent in load.sent.items():
        again = await store.append(sent, key=key)
        if key in load.acknowledged:
            assert again.repeated
            assert again.first == load.acknowledged[key].first_sequence_number
        elif not again.repeated:
            assert again.first == head + 1
            head = again.last
    texts = [fact.payload for fact in (await store.query()).facts]
    assert len(texts) == len(set(texts)) == sum(map(len, load.sent.values()))


@pytest.mark.timeout(120)
async def test_every_acknowledged_append_survives_a_kill_under_load_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    database = tmp_path / "facts.db"
    load = Load()
    for round_number in range(ROUNDS):
        enough = len(load.acknowledged) + chance.randint(20, 250)
        load.enough.clear()
        async with server_process(database) as (process, address):
            clients = [
                asyncio.create_task(load.client(address, f"{round_number}-{i}", enough))
                for i in range(CLIENTS)
            ]
            await load.enough.wait()
            process.kill()
            await asyncio.gather(*clients)
        async with Direct(url_of(database), Options()) as store:
            await kept(store, load)


@pytest.mark.timeout(120)
async def test_sigterm_ends_the_server_cleanly_and_frees_the_file(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    load = Load()
    async with server_process(database) as (process, address):
        clients = [asyncio.create_task(load.client(address, f"{i}", 30)) for i in range(CLIENTS)]
        await load.enough.wait()
        process.terminate()
        assert await process.wait() == 0
        await asyncio.gather(*clients)
    assert not database.with_name("facts.db-wal").exists()
    async with Direct(url_of(database), Options()) as store:
        await kept(store, load)
