"""What a store holds, read with SQL that no store uses, and stores that hold a bit of everything."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import psycopg
from psycopg import sql

from factstr_server.contract.query import EVERYTHING
from factstr_server.contract.record import read_varint
from factstr_server.stores.postgres.lookup import block_term, era_prefix
from factstr_server.stores.protocol import Advance, BatchWindow, Store, StoreInfo, Window
from factstr_server.stores.stream_protocol import Acquired, Acquisition
from tests.conformance.driver import Filter, NewFact, Query, of_type, where
from tests.postgres.fresh import without_schema
from tests.stores.opened import compiled, opened, prepared

DEEP: Final = '{"d":' + "[" * 62 + "1" + "]" * 62 + "}"
OVERFLOWING: Final = '{"n":1,' + ",".join(f'"k{i}":{i}' for i in range(2_010)) + "}"
ODD_PAYLOADS: Final = (
    *("null", "true", "-0.0", "1e300", "9007199254740993", '""', "[]", "{}", ' {"a" : 1 , "a":\t2}\n', DEEP),
    *('"\\u00e9\\ud83d\\ude00\\/"', '"é\U0001f600\u2028"', '{"":{"":[]}}', OVERFLOWING),
)
LARGEST: Final = '{"n":1,"large":"' + "x" * 3_145_000 + '"}'

QUERIES: Final = (
    Query(),
    of_type("a"),
    of_type("a", "ünï \U0001f600 ~&|()'\\"),
    of_type("none"),
    where('{"n":1}'),
    where('{"n":1}', '{"n":2}'),
    where('{"rows":[{"x":1,"y":1}]}'),
    where('{"k7":7}'),
    where('{"d":[[[]]]}'),
    where("null", "true", '""'),
    where("9007199254740993"),
    Query((Filter(("a",), ('{"n":1}',)), Filter(("b",)))),
)

TABLES: Final = {
    "store": "CAST(store_id AS text), CAST(history_id AS text), created_at, last_lease_epoch, acknowledgement_key",
    "records": "sequence_number, occurred_at, event_type, CAST(metadata AS text), payload_bytes, opening_bytes",
    "batches": "first_sequence_number, last_sequence_number",
    "idempotency_keys": "first_sequence_number, last_sequence_number, occurred_at, idempotency_key, fingerprint",
    "durable_streams": "durable_stream, query, canonical_query, cursor, lease_epoch, created_at, acknowledged_at",
}

Rows = dict[str, list[tuple[object, ...]]]


class Whole(NamedTuple):
    """A store as the server sees it, as its tables say, and what its index holds of each fact."""

    info: StoreInfo
    acknowledgement_key: bytes
    frames: list[bytes]
    records: list[bytes]
    found: list[list[bytes]]
    """By each of `QUERIES`."""
    rows: Rows
    terms: dict[int, frozenset[str]]


async def whole(url: str) -> Whole:
    async with opened(url) as store:
        head = await store.head()
        frames = []
        window = BatchWindow(0, head)
        while window.after < head:
            page = await store.read_batches(EVERYTHING, window)
            frames += page.frames
            window = window._replace(after=page.looked_up_to)
        return Whole(
            store.info._replace(kind=""),
            store.acknowledgement_key,
            frames,
            await matching(store, Query()),
            [await matching(store, query) for query in QUERIES],
            rows_of(url),
            terms_of(url),
        )


async def matching(store: Store, query: Query) -> list[bytes]:
    """The records of a context, of which the last is its version."""
    records: list[bytes] = []
    window = Window()
    while True:
        version, page = await store.read_context(compiled(query), window)
        records += page.records
        if page.finished:
            assert version == (read_varint(records[-1], 1)[0] if records else None)
            return records
        window = Window(page.looked_up_to)


def rows_of(url: str) -> Rows:
    """Tables with their rows in the order of the first column. Times are microseconds since 1970."""
    rows: Rows = {}
    for table, columns in TABLES.items():
        statement = f"SELECT {columns} FROM {table} ORDER BY 1"
        rows[table] = [tuple(map(_plain, row)) for row in select(url, statement)]
    return rows


def terms_of(url: str) -> dict[int, frozenset[str]]:
    """The index terms of each fact, as the index has them."""
    terms: dict[int, set[str]] = {}
    if url.startswith("sqlite"):
        connection = apsw.Connection(url.removeprefix("sqlite:///"))
        connection.execute("CREATE VIRTUAL TABLE temp.held USING fts5vocab(main, terms, instance)")
        for term, number in connection.execute("SELECT term, doc FROM held"):
            terms.setdefault(int(number), set()).add(str(term))
        connection.close()
    else:
        for number, held in select(url, "SELECT sequence_number, tsvector_to_array(terms) FROM records"):
            prefix = era_prefix(number)
            assert all(term.startswith(prefix) for term in held)
            terms[number] = {term.removeprefix(prefix) for term in held}
            terms[number].remove(block_term(number))
    return {number: frozenset(held) for number, held in terms.items()}


def select(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a statement finds, or changes, beside the server."""
    if url.startswith("sqlite"):
        file = apsw.Connection(url.removeprefix("sqlite:///"))
        try:
            return list(file.execute(statement))
        finally:
            file.close()
    with connected(url) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def connected(url: str) -> psycopg.Connection[Any]:
    """A connection of its own, in the schema of the URL."""
    connection = psycopg.connect(without_schema(url), autocommit=True)
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema_of(url))))
    return connection


def schema_of(url: str) -> str:
    return url.partition("schema=")[2]


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def files_of(url: str) -> dict[str, bytes]:
    """A file's bytes, and those of what lies beside it; nothing where the store is no file."""
    if not url.startswith("sqlite"):
        return {}
    return {path.name: path.read_bytes() for path in path_of(url).parent.iterdir()}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


async def fill(url: str, chance: random.Random) -> None:
    """A bit of everything: batches of all sizes, keys with and without repeats, odd texts, streams at all positions."""
    async with opened(url) as store:
        for payload in ODD_PAYLOADS:
            await store.commit([prepared([NewFact(payload=payload)])])
        await store.commit([prepared([NewFact("ünï \U0001f600 ~&|()'\\", '{"n":1}', odd_metadata())])])
        await store.commit([prepared([NewFact("a", LARGEST)], key="large")])
        await store.commit([prepared([NewFact("a", '{"n":1,"x":"' + "y" * 1_000_000 + '"}')] * 3)])
        for size in (1, 2, 6_000, 1, 3):
            await store.commit([prepared(some_facts(chance, size), key=f"batch of {size}")])
        for _ in range(20):
            await store.commit(
                [
                    prepared(
                        some_facts(chance, chance.choice((1, 1, 2, 5))),
                        key=chance.choice(("", f"é \U0001f600 {chance.random()}")),
                    )
                    for _ in range(chance.randint(1, 20))
                ]
            )
        for _ in range(2):
            await store.commit([prepared([NewFact("a")], key="repeated")])
        await add_streams(store)


async def add_streams(store: Store) -> None:
    head = await store.head()
    for number, query in enumerate(QUERIES):
        name = f"{query!r:.150} é\U0001f600"
        acquired = await store.acquire(
            Acquisition(
                name, json.dumps([str(number), "\U0001f600"]), compiled(query).canonical, "h", number * 7
            )
        )
        assert isinstance(acquired, Acquired)
        if number % 2:
            moved = Advance(name, acquired.lease_epoch, head - number, acknowledged=number % 3 > 0)
            await store.commit([moved])
    await store.acquire(Acquisition("gone", "[]", "[]", "h"))
    await store.delete("gone", force=True)


def some_facts(chance: random.Random, count: int) -> list[NewFact]:
    return [
        NewFact(
            chance.choice("abc"),
            chance.choice(
                (
                    *ODD_PAYLOADS[:9],
                    '{"rows":[{"x":1,"y":1}]}',
                    '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}',
                    json.dumps({"n": chance.randrange(5)}),
                )
            ),
            chance.choice(({}, {}, {"user": "é", "k": ""})),
        )
        for _ in range(count)
    ]


def odd_metadata() -> dict[str, str]:
    return {f"{i} é\U0001f600": chr(i + 1) * 100 for i in range(63)} | {"\x01": "é" * 8_192}


async def small(url: str, facts: int = 5) -> None:
    """A store of a few facts, a batch, a key and a durable stream."""
    async with opened(url) as store:
        for _ in range(facts - 2):
            await store.commit([prepared([NewFact("a", '{"n":1}')])])
        await store.commit([prepared([NewFact("a"), NewFact("b")], key="k")])
        acquired = await store.acquire(Acquisition("s", "[]", "[]", "h"))
        assert isinstance(acquired, Acquired)
        await store.commit([Advance("s", acquired.lease_epoch, 2, acknowledged=True)])
