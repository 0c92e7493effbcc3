"""The schema: numbered SQL files, each applied once, in a transaction of its own, by one server at a time."""

from importlib import resources
from typing import Final

import psycopg
from psycopg import AsyncConnection, sql

from factstr_server.stores.postgres.location import Location
from factstr_server.stores.protocol import StoreError

OLDEST_SERVER: Final = 150_000

_FILES: Final = sorted(
    (
        file
        for file in resources.files(__package__).joinpath("schema").iterdir()
        if file.name.endswith(".sql")
    ),
    key=lambda file: file.name,
)


async def migrate(connection: AsyncConnection, location: Location) -> None:
    """Brings the schema to this version's format, creating it where there is none. Where it has that format already,
    nothing is changed, and no right to change it is needed. Raises StoreError.
    """
    await _check_database(connection)
    if await _format(connection, location) == len(_FILES):
        return
    try:
        async with connection.transaction():
            # Whoever comes second finds the work done.
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"factstr {location.schema}",)
            )
            await _apply(connection, location)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"the schema {location.schema} has not this version's format, and this role may not change it "
            f"({_first_line(error)}); prepare it once with `factstr-server migrate --store URL` and a role that may"
        ) from None


async def _apply(connection: AsyncConnection, location: Location) -> None:
    schema = sql.Identifier(location.schema)
    applied = await _format(connection, location)
    if applied is None:
        if not await _exists(connection, location.schema):
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        await connection.execute(
            sql.SQL("CREATE TABLE {}.schema_format (format integer NOT NULL)").format(schema)
        )
        await connection.execute(sql.SQL("INSERT INTO {}.schema_format VALUES (0)").format(schema))
    for file in _FILES[applied or 0 :]:
        text = file.read_text(encoding="utf-8").replace("{schema}", schema.as_string(connection))
        await connection.execute(text.encode())
    await connection.execute(
        sql.SQL("UPDATE {}.schema_format SET format = %s").format(schema), (len(_FILES),)
    )


async def _check_database(connection: AsyncConnection) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise StoreError(f"PostgreSQL {version // 10_000} is too old; use 15 to 18")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database {connection.info.dbname} has the encoding {encoding}, which cannot hold every text; create "
            "one with ENCODING 'UTF8'"
        )


async def _format(connection: AsyncConnection, location: Location) -> int | None:
    """Which format the schema has; None when there is none."""
    schema = location.schema
    try:
        cursor = await connection.execute("SELECT to_regclass(%s)", (f"{_quoted(schema)}.schema_format",))
        row = await cursor.fetchone()
        if not row or row[0] is None:
            return None
        cursor = await connection.execute(
            sql.SQL("SELECT format FROM {}.schema_format").format(sql.Identifier(schema))
        )
        row = await cursor.fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"the schema {schema} is there, but this role may not use it ({_first_line(error)}); grant it the rights "
            "that docs/postgresql.md lists"
        ) from None
    found = row[0] if row else 0
    if found > len(_FILES):
        raise StoreError(
            f"the schema {schema} has format {found}, written by a newer version; this one knows formats up to "
            f"{len(_FILES)}, upgrade it"
        )
    return int(found)


async def _exists(connection: AsyncConnection, schema: str) -> bool:
    cursor = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
    return await cursor.fetchone() is not None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
