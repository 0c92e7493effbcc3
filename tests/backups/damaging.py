"""A small store with a bit of everything, ways to damage its file, and what is left beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import apsw

from factstr_server.contract.batch_frame import openings
from factstr_server.contract.record import (
    event_type_field,
    occurred_at_field,
    parse_record,
    record_body,
    record_prefix,
)
from factstr_server.stores.protocol import Advance
from factstr_server.stores.stream_protocol import Acquired, Acquisition
from tests.conformance.driver import NewFact, of_type
from tests.stores.opened import commit, compiled, opened_sqlite, prepared

Damage = str | Callable[[apsw.Connection], object]
"""SQL, or what does it."""


def in_silence(doing: str, done: int, total: int, of: str) -> None:
    """No progress is shown."""


def left(path: Path) -> list[str]:
    """The names of all that is in the file's folder."""
    return sorted(each.name for each in path.parent.iterdir())


async def make_store(database: Path) -> None:
    """Facts 1, 2 (with metadata), 3 to 5 (a batch, with a key), and 6; a durable stream with the cursor 2."""
    async with opened_sqlite(database) as store:
        await commit(store, NewFact("a", '{"n":1}'))
        await commit(store, NewFact("a", '{"n":2}', {"user": "é"}))
        await store.commit([prepared([NewFact("a", '{"n":3}')] * 3, key="k")])
        await commit(store, NewFact("b", '{"n":6}'))
        query = of_type("a")
        acquired = await store.acquire(Acquisition("s", '[[["a"], null]]', compiled(query).canonical, "h", 0))
        assert isinstance(acquired, Acquired)
        await store.commit([Advance("s", acquired.lease_epoch, 2, acknowledged=True)])


def damage(database: Path, how: Damage) -> None:
    connection = apsw.Connection(str(database))
    try:
        if callable(how):
            how(connection)
        else:
            connection.execute(how).fetchall()
    finally:
        connection.close()


def with_bits_flipped(file: Path, times: int) -> Iterator[Path]:
    """The file, each time with another bit of it flipped: in bytes that say something, and mostly the highest, which no
    text has.
    """
    whole, random = file.read_bytes(), Random(1)
    places = [place for place, byte in enumerate(whole) if byte]
    for _ in range(times):
        content = bytearray(whole)
        content[random.choice(places)] ^= 1 << random.choice((*range(7), *[7] * 7))
        file.write_bytes(content)
        yield file


def rewritten(number: int, **changed: object) -> Damage:
    """The fact with another time, event type, metadata or payload, and everything beside it as that one would have."""

    def rewrite(connection: apsw.Connection) -> None:
        row = connection.execute(
            "SELECT occurred_at, event_type, opening_bytes, record FROM records WHERE sequence_number = ?",
            (number,),
        ).get
        occurred_at, event_type, opening_bytes, framed = row
        parts = parse_record(framed[opening_bytes:])
        new = {
            "occurred_at": occurred_at,
            "event_type": event_type,
            "metadata": {},
            "payload": parts.body[-parts.payload_size :],
            **changed,
        }
        record = record_prefix(number, occurred_at_field(new["occurred_at"])) + record_body(
            event_type_field(new["event_type"]), new["metadata"], new["payload"]
        )
        [opening] = openings(number, number, [len(record)])
        if not opening_bytes or number in (3, 4, 5):
            assert len(record) == len(framed) - opening_bytes, "the batch is framed for this size"
            opening = framed[:opening_bytes]
        connection.execute(
            "UPDATE records SET occurred_at = ?, event_type = ?, payload_bytes = ?, opening_bytes = ?, record = ? "
            "WHERE sequence_number = ?",
            (
                new["occurred_at"],
                new["event_type"],
                len(new["payload"]),
                len(opening),
                opening + record,
                number,
            ),
        )

    return rewrite
