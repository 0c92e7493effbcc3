"""Ten thousand requests as no client would send them leave the server serving, and holding no more than before.

FACTSTR_FUZZ_REQUESTS asks for more of them, FACTSTR_FUZZ_SEED for those of an earlier run.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.conformance.driver import NewFact, of_type, where
from tests.fuzzing import http2
from tests.fuzzing.calls import Calls
from tests.prometheus.scraping import samples
from tests.sharing.servers import Remote, ServerProcess
from tests.waiting import until

REQUESTS: Final = int(os.environ.get("FACTSTR_FUZZ_REQUESTS", "10000"))
SECONDS: Final = 160 + REQUESTS // 40

MAX_GROWTH_KIB: Final = 24 * 1024 + REQUESTS // 4
"""Of the server's memory from one half of the requests to the other. All that it keeps within bounds is full by then,
and half as many requests have warmed up the rest: allocators and SQLite, which still come and go by up to 16 MiB. Half
a KiB for each request is for what gRPC itself loses: about 2 KB of each call that is reset before it is answered.
"""

SETTLING_SECONDS: Final = 40.0
"""In which the server must have forgotten connections: it waits up to 20 s for those that never say what they are."""

FILLING: Final = "filling"


class Watched:
    """The server as a process, and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.reports = folder / "reports"
        self.reports.touch()
        program = (str(Path(__file__).with_name("watched_server.py")), str(self.reports))
        flags = ("--log-calls", "failed", "--metrics-listen", "127.0.0.1:0")
        self.process = ServerProcess(f"sqlite:///{folder}/facts.db", folder / "log", *flags, program=program)

    async def held(self) -> "Held":
        """Once every call that has begun has ended."""
        await until_quiet(self.process.metrics_address())
        before = len(self._lines())
        self.process.send(signal.SIGUSR2)
        await until(lambda: len(self._lines()) > before, "the server reports what it holds")
        return Held(**json.loads(self._lines()[-1]), memory_kib=memory_kib(self.process.pid))

    async def settled(self, before: "Held") -> "Held":
        """When it holds no more than before."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLING_SECONDS
        while not (held := await self.held()).at_most(before):
            assert loop.time() < end, f"{held} after {before}"
            await asyncio.sleep(0.5)
        return held

    def _lines(self) -> list[str]:
        return self.reports.read_text().splitlines()


class Held(NamedTuple):
    tasks: int
    objects: int
    """That Python's garbage collector knows."""
    files: int
    memory_kib: int
    """Resident."""

    def at_most(self, before: "Held") -> bool:
        return (
            self.tasks <= before.tasks
            and self.files <= before.files
            and self.memory_kib <= before.memory_kib + MAX_GROWTH_KIB
        )


def memory_kib(pid: int) -> int:
    [line] = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")
    ]
    return int(line.split()[1])


async def until_quiet(metrics: str) -> None:
    """Every call that has begun has ended."""
    async with asyncio.timeout(60):
        while True:
            found = await samples(metrics)
            begun, ended = (
                sum(sample.value for sample in found if sample.name == name)
                for name in ("grpc_server_started_total", "grpc_server_handled_total")
            )
            if begun == ended:
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    # Otherwise each of its threads takes memory of its own for large requests, one after the other, and keeps it.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    server = Watched(tmp_path)
    try:
        yield server
    finally:
        server.process.kill()


@pytest.mark.timeout(SECONDS)
async def test_mutated_requests_leave_the_server_as_it_was(watched: Watched) -> None:
    seed = int(os.environ.get("FACTSTR_FUZZ_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FACTSTR_FUZZ_SEED={seed} FACTSTR_FUZZ_REQUESTS={REQUESTS}")
    address = watched.process.address()
    calls = Calls(address)
    async with Remote(address) as remote:
        await fill(remote)
        half = REQUESTS // 2
        await calls.run(seed, range(half))
        warm = await watched.held()
        await calls.run(seed, range(half, 2 * half))
        before = await watched.held()
        await calls.run(seed, range(2 * half, 3 * half))
        after = await watched.settled(before)
        print(f"{warm}\n{before}\n{after}\n{calls.outcomes}")
        assert calls.complaints == []
        await assert_serving(remote)
        await assert_log_is_what_was_acknowledged(remote, calls)
    await calls.close()
    assert watched.process.runs
    assert of_defects(watched.process.said) == []


def of_defects(log: str) -> list[str]:
    """Lines that tell of defects; not those of gRPC itself, which prints where it stood when a call was none."""
    return [
        line
        for line in log.splitlines()
        if "error_id" in line or " ERROR " in line or (line.startswith("  File ") and "/_cygrpc/" not in line)
    ]


async def fill(remote: Remote) -> None:
    """What the server keeps in memory, so that it grows no further: 32 MiB of newest facts, 1,024 queries, 4,096
    predicates, and as many event types.
    """
    payload = '"' + "x" * 100_000 + '"'
    for _ in range(15):
        await remote.append([NewFact(FILLING, payload)] * 29)
    await remote.append([NewFact(f"{FILLING}-{number}") for number in range(4_200)])
    for number in range(1_100):
        predicates = [f'{{"filling": {{"{number}": [{other}, "{"x" * 80}"]}}}}' for other in range(4)]
        assert not (await remote.query(where(*predicates))).facts


async def assert_serving(remote: Remote) -> None:
    async with (
        remote.stream_to(of_type("afterwards")) as stream,
        remote.stream_all_durable("after") as durable,
    ):
        await stream.started()
        await durable.started()
        appended = await remote.append([NewFact("afterwards")])
        [batch] = await stream.batches(1)
        assert batch.last == appended.last
    answer = await remote.query(of_type("afterwards"))
    assert [fact.sequence_number for fact in answer.facts] == [appended.last]


async def assert_log_is_what_was_acknowledged(remote: Remote, calls: Calls) -> None:
    """Numbers have no gaps, and belong to acknowledged appends, but for those whose answers nobody read."""
    acknowledged = {number for first, last in calls.acknowledged for number in range(first, last + 1)}
    expected = 0
    unheard = []
    async for part in remote.parts():
        for fact in part.facts:
            expected += 1
            assert fact.sequence_number == expected
            if fact.sequence_number not in acknowledged:
                unheard.append(fact.event_type)
    assert max(acknowledged, default=0) <= expected
    assert {kind.partition("-")[0] for kind in unheard} <= {http2.UNHEARD_TYPE, FILLING, "afterwards"}
