"""The worked example of docs/projections.md: stopped, killed and restarted, it ends with the table of a full replay."""

import random
import runpy
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

import factstr
from benchmarks.facts import Fact, fact_source
from factstr.v1 import event_pb2

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "open_incidents.py"
FACTS = 12_000
SEED = 2013


def expected_table(facts: list[Fact]) -> str:
    """What the projection prints, folded from the facts without a store."""
    newest: dict[str, tuple[str, bool]] = {}
    for fact in facts:
        incident = factstr.Event(fact.event_type, factstr.JsonText(fact.payload)).payload
        newest[incident["case"]["id"]] = (incident["product"], fact.event_type != "Completed")
    counts = Counter(product for product, is_open in newest.values() if is_open)
    in_order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{count:6}  {product}\n" for product, count in in_order)


@contextmanager
def process(*arguments: str | Path, starts_with: str = "") -> Iterator["subprocess.Popen[str]"]:
    """A process of this test's own, for the length of a block."""
    started = subprocess.Popen([sys.executable, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr
        if starts_with:
            line = started.stderr.readline()
            assert line.startswith(starts_with), line
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate(timeout=30)


class Scene:
    """A folder with a server's file, its socket, and the projection's table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = f"unix:{folder / 'factstr.sock'}"

    @contextmanager
    def server(self) -> Iterator["subprocess.Popen[str]"]:
        url = f"sqlite:///{self.folder / 'facts.db'}"
        arguments = ("-m", "factstr_server", "--store", url, "--listen", self.target)
        with process(*arguments, starts_with="factstr-server") as started:
            yield started

    def projection(self, table: str, name: str, *more: str) -> tuple[str | Path, ...]:
        return (EXAMPLE, self.folder / table, "--target", self.target, "--name", name, *more)

    def table(self, table: str, name: str) -> str:
        """The table after a run up to the head."""
        command = [sys.executable, *map(str, self.projection(table, name, "--until-caught-up"))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def append_all(target: str, facts: list[Fact], chance: random.Random) -> None:
    """In batches of 1 to 20, each certainly once: with a key, and again for as long as the server is away."""
    with factstr.connect(target, retries=factstr.Retries(limit=100)) as store:
        position = 0
        while position < len(facts):
            batch = facts[position : position + chance.randint(1, 20)]
            events = [factstr.Event(fact.event_type, factstr.JsonText(fact.payload)) for fact in batch]
            store.append(events, idempotency_key=str(uuid4()))
            position += len(batch)


def reaches(target: str, name: str, sequence_number: int) -> None:
    """Waits until the projection's cursor is there, from before it exists on."""
    deadline = time.monotonic() + 30
    with factstr.connect(target) as store:
        while time.monotonic() < deadline:
            try:
                if store.await_durable_stream(name, sequence_number, timeout=10).reached:
                    return
            except factstr.DurableStreamNotFound:
                continue
    raise AssertionError(f"the projection did not reach {sequence_number}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_projection_that_is_stopped_killed_and_restarted_ends_as_a_full_replay(scene: Scene) -> None:
    source = fact_source()
    facts = [source.fact(number) for number in range(FACTS)]
    appending = threading.Thread(target=append_all, args=(scene.target, facts, random.Random(SEED)))
    with scene.server() as server:
        appending.start()
        with process(*scene.projection("table.db", "open-incidents")) as stopped:
            reaches(scene.target, "open-incidents", FACTS // 8)
            stopped.terminate()
            assert stopped.wait(30) == 0
        with process(*scene.projection("table.db", "open-incidents")) as killed:
            reaches(scene.target, "open-incidents", FACTS // 4)
            killed.kill()
            killed.wait(30)
        with process(*scene.projection("table.db", "open-incidents")) as survivor:
            reaches(scene.target, "open-incidents", FACTS // 2)
            server.kill()
            server.wait(30)
            with scene.server():
                reaches(scene.target, "open-incidents", FACTS * 5 // 8)
                survivor.kill()
                survivor.wait(30)
                appending.join(50)
                assert not appending.is_alive()
                assert scene.table("table.db", "open-incidents") == expected_table(facts)
                assert scene.table("replayed.db", "a-full-replay") == expected_table(facts)


def test_a_copy_that_was_paused_or_stood_by_takes_nothing_in_that_another_has_taken_in(
    tmp_path: Path,
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    paused, successor = (example["OpenIncidents"](str(tmp_path / "table.db")) for _ in range(2))
    queued, completed = incident(1, "Queued"), incident(2, "Completed")
    paused.apply(queued)
    successor.apply(queued)
    successor.apply(completed)
    paused.apply(queued)
    assert paused.last_sequence_number() == successor.last_sequence_number() == 2
    assert paused.per_product() == successor.per_product() == []


def incident(number: int, event_type: str) -> factstr.CommittedBatch:
    payload = '{"case":{"id":"1-1"},"product":"PROD1"}'
    record = factstr.EventRecord.from_proto(
        event_pb2.EventRecord(sequence_number=number, event_type=event_type, payload=payload)
    )
    return factstr.CommittedBatch(number, number, (record,))
