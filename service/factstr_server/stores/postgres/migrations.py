"""The schema: numbered SQL files, each applied once, together in a transaction, by one server at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import psycopg
from psycopg import AsyncConnection, AsyncCursor, sql

from factstr_server.stores.migration import Migration, schema_files
from factstr_server.stores.postgres.location import Location
from factstr_server.stores.postgres.transactions import begin
from factstr_server.stores.postgres.translation import first_line
from factstr_server.stores.protocol import StoreError

OLDEST_SERVER: Final = 150_000
_FILES: Final = schema_files(__package__)
NEWEST_FORMAT: Final = len(_FILES)


async def migrate(connection: AsyncConnection, location: Location) -> Migration:
    """Brings the schema to this version's format, creating it where there is none. Where it has that format already,
    nothing is changed, and no right to change it is needed. Raises StoreError.
    """
    await check_database(connection)
    before = await format_of(connection, location)
    if before != NEWEST_FORMAT:
        async with changing_format(connection, location):
            # Whoever comes second finds the work done.
            before = await format_of(connection, location)
            if before != NEWEST_FORMAT:
                if before is not None:
                    await _wait_for_commits(connection, location)
                await apply_files(connection, location, before)
    return Migration(before, NEWEST_FORMAT)


async def _wait_for_commits(connection: AsyncConnection, location: Location) -> None:
    """Servers of the format before commit what they have begun; then their next commit finds the new format."""
    head = sql.Identifier(location.schema, "head")
    await connection.execute(sql.SQL("SELECT FROM {} FOR UPDATE").format(head))


@asynccontextmanager
async def changing_format(connection: AsyncConnection, location: Location) -> AsyncIterator[None]:
    """A transaction, one at a time for a schema. Raises StoreError where the role may not do it."""
    try:
        await begin(connection, wait_seconds=0)
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"factstr {location.schema}",)
        )
        yield
        await connection.execute("COMMIT")
    except BaseException as error:
        if not connection.closed:
            with suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise StoreError(await _not_allowed(connection, location, error)) from None
        raise


async def apply_files(
    connection: AsyncConnection, location: Location, before: int | None, *, unfinished: bool = False
) -> None:
    """In the caller's transaction: brings the schema from the format that it has to this version's, which is marked as
    that of an unfinished copy if it is one.
    """
    schema = sql.Identifier(location.schema)
    if before is None:
        if not await _exists(connection, location.schema):
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        await connection.execute(
            sql.SQL("CREATE TABLE {}.schema_format (format integer NOT NULL)").format(schema)
        )
        await connection.execute(sql.SQL("INSERT INTO {}.schema_format VALUES (0)").format(schema))
    for file in _FILES[before or 0 :]:
        text = file.read_text(encoding="utf-8").replace("{schema}", schema.as_string(connection))
        # Several statements at once: only the simple protocol takes them, which has no binary results.
        await AsyncCursor(connection).execute(text.encode())
    await set_format(connection, location, -NEWEST_FORMAT if unfinished else NEWEST_FORMAT)


async def set_format(connection: AsyncConnection, location: Location, number: int) -> None:
    """A negative one is that of an unfinished copy."""
    await connection.execute(
        sql.SQL("UPDATE {}.schema_format SET format = %s").format(sql.Identifier(location.schema)), (number,)
    )


async def check_database(connection: AsyncConnection) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise StoreError(f"PostgreSQL {version // 10_000} is too old; use 15 to 18")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database {connection.info.dbname} has the encoding {encoding}, which cannot hold every text; create "
            "one with ENCODING 'UTF8'"
        )


async def format_of(connection: AsyncConnection, location: Location) -> int | None:
    """Which format the schema has; None when there is none. Raises StoreError for what cannot be opened: written by a
    newer version, or a copy that is unfinished.
    """
    schema = location.schema
    try:
        # From the tables themselves: `to_regclass` remembers what was not there before another server made it.
        cursor = await connection.execute(
            "SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = 'schema_format'",
            (schema,),
        )
        if await cursor.fetchone() is None:
            return None
        cursor = await connection.execute(
            sql.SQL("SELECT format FROM {}.schema_format").format(sql.Identifier(schema))
        )
        row = await cursor.fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"the schema {schema} is there, but this role may not use it ({first_line(error)}); grant it the rights "
            "that docs/postgresql.md lists"
        ) from None
    found = row[0] if row else 0
    if found > NEWEST_FORMAT:
        raise StoreError(f"the schema {schema} {written_by_a_newer_version(found)}")
    if found < 0:
        raise StoreError(
            f"the schema {schema} holds an unfinished copy, or one that is under way; drop the schema if nothing "
            "writes it any more, and copy again"
        )
    return int(found)


def written_by_a_newer_version(found: int) -> str:
    return f"has format {found}, written by a newer version; this one knows formats up to {NEWEST_FORMAT}, upgrade it"


async def _exists(connection: AsyncConnection, schema: str) -> bool:
    cursor = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
    return await cursor.fetchone() is not None


async def _not_allowed(connection: AsyncConnection, location: Location, error: psycopg.Error) -> str:
    there = await _exists(connection, location.schema)
    state = "has not this version's format" if there else "does not exist"
    return (
        f"the schema {location.schema} {state}, and this role may not {'change' if there else 'create'} it "
        f"({first_line(error)}); prepare it once with `factstr-server migrate --store URL` and a role that may"
    )
