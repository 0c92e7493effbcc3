"""What streams read ahead: bounded for all of them together, and nothing is lost where it is forgotten."""

import random
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.query import EVERYTHING
from factstr_server.log import live_streams
from factstr_server.log.event_log import EventLog
from factstr_server.log.live_streams import StreamItem
from factstr_server.log.read_ahead import PagesAhead, ReadAhead
from factstr_server.log.subscription import Batches, CaughtUp
from factstr_server.stores.protocol import BatchPage, StoreOptions
from factstr_server.stores.sqlite.store import SqliteStore
from tests.conformance.driver import NewFact
from tests.stores.opened import prepared

PAGE = BatchPage([b"x" * 100], [(1, 1)], 1)


def test_the_pages_of_whoever_read_longest_ago_are_forgotten_first() -> None:
    shared = ReadAhead(max_bytes=500)
    first, second, third = (PagesAhead(shared) for _ in range(3))
    first.add([PAGE, PAGE])
    second.add([PAGE, PAGE])
    first.take()
    third.add([PAGE, PAGE])
    assert (len(first), len(second), len(third)) == (1, 2, 2), "500 bytes have room"
    third.add([PAGE])
    assert (len(first), len(second), len(third)) == (1, 0, 3)
    first.forget()
    second.add([PAGE, PAGE])
    assert (len(first), len(second), len(third)) == (0, 2, 3)


def test_pages_that_have_no_room_at_all_are_forgotten_at_once() -> None:
    pages = PagesAhead(ReadAhead(max_bytes=250))
    pages.add([PAGE, PAGE, PAGE])
    assert len(pages) == 0
    pages.add([PAGE, PAGE])
    assert len(pages) == 2


@pytest.mark.parametrize("max_bytes", [0, 1_500_000, 64_000_000])
async def test_streams_that_read_at_random_get_every_batch_once_whatever_is_forgotten(
    tmp_path: Path, max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print("seed", seed := random.randrange(2**32))
    chance = random.Random(seed)
    monkeypatch.setattr(live_streams, "ReadAhead", lambda: ReadAhead(max_bytes))
    database = tmp_path / "facts.db"
    log = EventLog(SqliteStore(database, StoreOptions()))
    await log.open()
    committed = []
    for _ in range(60):
        facts = [NewFact(payload='"' + "x" * 10_000 + '"')] * chance.choice((1, 7, 13, 30))
        result = await log.append(prepared(facts))
        committed.append((result.first_sequence_number, result.last_sequence_number, len(facts)))
    await log.close()

    # The tail of a log that was just opened is empty: everything comes from the store.
    log = EventLog(SqliteStore(database, StoreOptions()))
    await log.open()
    delivered: list[list[tuple[int, int, int]]] = [[] for _ in range(6)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(log.close)
        streams = [
            await stack.enter_async_context(aclosing(log.live.stream(EVERYTHING, 0))) for _ in delivered
        ]
        reading = list(range(len(streams)))
        while reading:
            reader = chance.choice(reading)
            for _ in range(chance.randrange(1, 12)):
                item: StreamItem = await anext(streams[reader])
                if isinstance(item, Batches):
                    delivered[reader] += batches_of(item)
                elif isinstance(item, CaughtUp):
                    reading.remove(reader)
                    break
    assert delivered == [committed] * len(delivered)


def batches_of(item: Batches) -> list[tuple[int, int, int]]:
    message = pb.CommittedBatches.FromString(b"".join(item.frames))
    return [
        (batch.first_sequence_number, batch.last_sequence_number, len(batch.event_records))
        for batch in message.batches
    ]
