"""A schema as the source or the target of a copy (`stores.copy_protocol`). Each has one connection.

A source is read in one snapshot, on any server that has it; a target is written page by page, each a transaction. Until
it is finished its format is negative (`migrations`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.types.numeric import Int4, Int8

from factstr_server.stores.copy_protocol import (
    PAGE_BYTES,
    PAGE_FACTS,
    PAGE_KEYS,
    PAGE_STREAMS,
    Contents,
    CopiedFact,
    CopiedKey,
    CopiedStream,
    Identity,
)
from factstr_server.stores.postgres.copy_rows import COLUMNS, copied_rows
from factstr_server.stores.postgres.link import connect
from factstr_server.stores.postgres.location import location_of, shown_url
from factstr_server.stores.postgres.migrations import (
    NEWEST_FORMAT,
    apply_files,
    changing_format,
    check_database,
    format_of,
    set_format,
)
from factstr_server.stores.postgres.statements import SILENCE, Statements
from factstr_server.stores.postgres.times import moment
from factstr_server.stores.postgres.transactions import begin
from factstr_server.stores.postgres.translation import told_to_people
from factstr_server.stores.protocol import StoreError

_SNAPSHOT: Final = """
    SELECT
        set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true),
        set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
        set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
        set_config('jit', 'off', true)
"""
"""Plans are forced: pages are read by primary key, one after the other."""

_NO_TIME_LIMIT: Final = "SELECT set_config('transaction_timeout', '0', true)"

_CONTENTS: Final = """
    SELECT
        s.store_id::text, s.history_id::text, (extract(epoch FROM s.created_at) * 1000000)::bigint,
        s.last_lease_epoch, s.acknowledgement_key, h.sequence_number,
        (SELECT count(*) FROM {schema}.batches), (SELECT count(*) FROM {schema}.idempotency_keys),
        (SELECT count(*) FROM {schema}.durable_streams)
    FROM {schema}.store AS s CROSS JOIN {schema}.head AS h
"""
_FACTS: Final = """
    WITH sized AS MATERIALIZED (
        SELECT s.sequence_number, sum(s.bytes) OVER (ORDER BY s.sequence_number) - s.bytes AS bytes_before
        FROM (
            SELECT sequence_number, octet_length(framing) + payload_bytes AS bytes FROM {schema}.records
            WHERE sequence_number > %s ORDER BY sequence_number LIMIT %s
        ) AS s
    )
    SELECT
        r.sequence_number, (extract(epoch FROM r.occurred_at) * 1000000)::bigint, r.event_type, r.metadata::text,
        r.payload_bytes, substr(r.framing, r.opening_bytes + 1) || json_send(r.payload),
        substr(r.framing, 1, r.opening_bytes), b.last_sequence_number
    FROM sized AS z
    JOIN {schema}.records AS r ON r.sequence_number = z.sequence_number
    LEFT JOIN {schema}.batches AS b ON b.first_sequence_number = r.sequence_number
    WHERE z.bytes_before < %s
    ORDER BY r.sequence_number
"""
_KEYS: Final = """
    SELECT
        first_sequence_number, last_sequence_number, (extract(epoch FROM occurred_at) * 1000000)::bigint,
        idempotency_key, fingerprint
    FROM {schema}.idempotency_keys WHERE first_sequence_number > %s ORDER BY first_sequence_number LIMIT %s
"""
_STREAMS: Final = """
    SELECT
        durable_stream, query, canonical_query, cursor, lease_epoch,
        (extract(epoch FROM created_at) * 1000000)::bigint, (extract(epoch FROM acknowledged_at) * 1000000)::bigint
    FROM {schema}.durable_streams WHERE durable_stream > %s ORDER BY durable_stream LIMIT %s
"""
_COPY_FACTS: Final[LiteralString] = "COPY {schema}.records (" + COLUMNS + ") FROM STDIN (FORMAT BINARY)"


class _Schema:
    """The schema, read."""

    def __init__(self, url: str, *, read_only: bool) -> None:
        """Raises StoreError."""
        self.name = shown_url(url)
        self.place: object = url
        self._location = location_of(url, read_only=read_only)
        self._sql = Statements(self._location.schema)
        self._open: AsyncConnection | None = None

    async def close(self) -> None:
        if self._open:
            with suppress(psycopg.Error, OSError):
                await self._open.close()

    async def check_unused(self) -> None:
        with told_to_people(self.name):
            await self._end_transaction(self._connection)  # whose snapshot knows nothing of what came since
        await self._check_servers()

    async def _check_servers(self) -> None:
        [[servers]] = await self._rows("SELECT count(*) FROM {schema}.servers WHERE {alive}")
        if servers:
            raise StoreError(
                f"{self.name} is in use by {servers} server{'s' if servers > 1 else ''}: stop them first (one that was "
                f"killed counts for {SILENCE})"
            )

    async def contents(self) -> Contents:
        with told_to_people(self.name):
            await self._begin_snapshot(self._connection)
        rows = await self._rows(_CONTENTS)
        if not rows:
            raise StoreError(f"{self.name} is damaged: it does not say which store it is")
        return Contents(Identity._make(rows[0][:5]), *rows[0][5:])

    async def facts_after(self, sequence_number: int) -> list[CopiedFact]:
        rows = await self._rows(_FACTS, Int8(sequence_number), Int4(PAGE_FACTS), Int8(PAGE_BYTES))
        return list(map(CopiedFact._make, rows))

    async def keys_after(self, first_sequence_number: int) -> list[CopiedKey]:
        rows = await self._rows(_KEYS, Int8(first_sequence_number), Int4(PAGE_KEYS))
        return list(map(CopiedKey._make, rows))

    async def streams_after(self, durable_stream: str) -> list[CopiedStream]:
        rows = await self._rows(_STREAMS, durable_stream, Int4(PAGE_STREAMS))
        return list(map(CopiedStream._make, rows))

    @property
    def _connection(self) -> AsyncConnection:
        assert self._open, "opened"
        return self._open

    async def _connect(self) -> AsyncConnection:
        self._open = await connect(self._location)
        await check_database(self._open)
        return self._open

    async def _begin_snapshot(self, connection: AsyncConnection) -> None:
        """Ends with the next one, or with the connection."""
        await self._end_transaction(connection)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await connection.execute(_SNAPSHOT)
        if connection.info.server_version >= 170_000:
            await connection.execute(_NO_TIME_LIMIT)

    async def _end_transaction(self, connection: AsyncConnection) -> None:
        if connection.info.transaction_status:
            await connection.execute("ROLLBACK")

    async def _rows(self, text: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        with told_to_people(self.name):
            cursor = await self._connection.execute(self._sql(text), parameters)
            return await cursor.fetchall()


class SchemaSource(_Schema):
    """A `CopySource`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, read_only=True)

    async def open(self) -> None:
        with told_to_people(self.name):
            found = await format_of(await self._connect(), self._location)
        if found is None:
            raise StoreError(f"there is no store in {self.name}: no schema {self._location.schema}")
        if found < NEWEST_FORMAT:
            raise StoreError(
                f"{self.name} has the earlier format {found}; bring it to format {NEWEST_FORMAT} first: "
                f"factstr-server migrate --store '{self.name}'"
            )
        await self._check_servers()


class SchemaTarget(_Schema):
    """A `CopyTarget`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, read_only=False)

    @property
    def remedy(self) -> str:
        return f"drop its schema {self._location.schema}"

    async def open(self) -> None:
        with told_to_people(self.name):
            found = await format_of(await self._connect(), self._location)
        if found is not None:
            await self._check_free()

    async def begin(self) -> None:
        with told_to_people(self.name):
            async with changing_format(self._connection, self._location):
                found = await format_of(self._connection, self._location)
                if found is not None:
                    await self._check_free()
                await apply_files(self._connection, self._location, found, unfinished=True)

    async def write_facts(self, facts: Sequence[CopiedFact], terms: Sequence[str]) -> None:
        rows = await copied_rows(facts, terms)
        batches = [fact for fact in facts if fact.batch_last is not None]
        async with self._transaction() as connection:
            async with connection.cursor() as cursor, cursor.copy(self._sql(_COPY_FACTS)) as copy:
                await copy.write(rows)
            if batches:
                await connection.execute(
                    self._sql(
                        "INSERT INTO {schema}.batches SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
                    ),
                    (
                        [Int8(fact.sequence_number) for fact in batches],
                        [Int8(fact.batch_last) for fact in batches if fact.batch_last is not None],
                    ),
                )

    async def write_keys(self, keys: Sequence[CopiedKey]) -> None:
        firsts, lasts, times, names, fingerprints = zip(*keys, strict=True)
        async with self._transaction() as connection:
            await connection.execute(
                self._sql(
                    """
                    INSERT INTO {schema}.idempotency_keys (
                        first_sequence_number, last_sequence_number, occurred_at, idempotency_key, fingerprint
                    )
                    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::text[], %s::bytea[])
                    """
                ),
                (
                    list(map(Int8, firsts)),
                    list(map(Int8, lasts)),
                    list(map(moment, times)),
                    list(names),
                    list(fingerprints),
                ),
            )

    async def write_streams(self, streams: Sequence[CopiedStream]) -> None:
        async with self._transaction() as connection, connection.cursor() as cursor:
            await cursor.executemany(
                self._sql(
                    """
                    INSERT INTO {schema}.durable_streams (
                        durable_stream, query, canonical_query, cursor, lease_epoch, created_at, acknowledged_at
                    )
                    VALUES (%s, %s, %s, %s, %s, %s, %s)
                    """
                ),
                [
                    (
                        stream.durable_stream,
                        stream.query_text,
                        stream.canonical_query,
                        Int8(stream.cursor),
                        Int8(stream.lease_epoch),
                        moment(stream.created_at),
                        None if stream.acknowledged_at is None else moment(stream.acknowledged_at),
                    )
                    for stream in streams
                ],
            )

    async def write_identity(self, identity: Identity, newest: CopiedFact | None) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                self._sql(
                    """
                    UPDATE {schema}.store
                    SET store_id = %s::uuid, history_id = %s::uuid, created_at = %s, last_lease_epoch = %s,
                        acknowledgement_key = %s
                    """
                ),
                (
                    identity.store_id,
                    identity.history_id,
                    moment(identity.created_at),
                    Int8(identity.last_lease_epoch),
                    identity.acknowledgement_key,
                ),
            )
            if newest:
                await connection.execute(
                    self._sql("UPDATE {schema}.head SET sequence_number = %s, occurred_at = %s"),
                    (Int8(newest.sequence_number), moment(newest.occurred_at)),
                )

    async def finish(self) -> None:
        async with self._transaction() as connection:
            await set_format(connection, self._location, NEWEST_FORMAT)

    async def _check_free(self) -> None:
        """Raises StoreError where something is in it already, a server uses it, or this role may not write it."""
        await self._check_servers()
        [[empty]] = await self._rows(
            """
            SELECT NOT EXISTS (SELECT FROM {schema}.records) AND NOT EXISTS (SELECT FROM {schema}.idempotency_keys)
                AND NOT EXISTS (SELECT FROM {schema}.durable_streams)
            """
        )
        if not empty:
            raise StoreError(f"{self.name} is not empty; copy to a schema that is new")
        [[allowed]] = await self._rows(
            "SELECT has_table_privilege(tableoid, 'UPDATE') FROM {schema}.schema_format"
        )
        if not allowed:
            raise StoreError(
                f"{self.name}: this role may not copy into the schema {self._location.schema}; use the role that owns "
                "it"
            )

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """What is left open by a failure ends with the connection."""
        connection = self._connection
        with told_to_people(self.name):
            await self._end_transaction(connection)
            await begin(connection, wait_seconds=0)
            yield connection
            await connection.execute("COMMIT")
