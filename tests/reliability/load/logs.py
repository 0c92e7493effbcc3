"""The log as SQL shows it, read past every server: of a SQLite file, and of a schema in PostgreSQL."""

import json
from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import apsw
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tests.conformance.facts import Fact
from tests.conformance.streams import Batch

_SQLITE = """
    SELECT
        coalesce(b.first_sequence_number, f.sequence_number), coalesce(b.last_sequence_number, f.sequence_number),
        f.sequence_number, r.occurred_at, f.event_type, f.payload, f.metadata
    FROM facts AS f JOIN records AS r USING (sequence_number)
    LEFT JOIN batches AS b ON f.sequence_number BETWEEN b.first_sequence_number AND b.last_sequence_number
    ORDER BY f.sequence_number
"""
_POSTGRES = sql.SQL("""
    SELECT
        coalesce(b.first_sequence_number, f.sequence_number), coalesce(b.last_sequence_number, f.sequence_number),
        f.sequence_number, (extract(epoch FROM f.occurred_at) * 1000000)::bigint,
        f.event_type, f.payload::text, f.metadata::text
    FROM {schema}.facts AS f
    LEFT JOIN {schema}.batches AS b ON f.sequence_number BETWEEN b.first_sequence_number AND b.last_sequence_number
    ORDER BY f.sequence_number
""")


def log_in_file(database: Path) -> list[Batch]:
    """Of a file that nobody uses; it may be changed by being opened, as SQLite does it after a crash."""
    with closing(apsw.Connection(str(database))) as connection:
        return _batches(connection.execute(_SQLITE).fetchall())


def log_in_schema(connection: psycopg.Connection[TupleRow], schema: str) -> list[Batch]:
    return _batches(connection.execute(_POSTGRES.format(schema=sql.Identifier(schema))).fetchall())


def _batches(rows: Iterable[tuple[Any, ...]]) -> list[Batch]:
    facts = [
        (first, last, Fact(number, time, kind, payload, json.loads(metadata)))
        for first, last, number, time, kind, payload, metadata in rows
    ]
    return [
        Batch(first, last, tuple(fact for *_, fact in part))
        for (first, last), part in groupby(facts, lambda row: row[:2])
    ]
