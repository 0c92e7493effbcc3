"""A fresh place in PostgreSQL for each ordinary test: a schema of a server that the whole session shares.

That server is FACTSTR_TEST_POSTGRES_URL's, or one of our own, which starts when it is first asked for and ends with
the session. The schema is only a name here; the server under test makes it.
"""

import os
import secrets
from functools import cache
from pathlib import Path
from typing import Final

DATABASE: Final = "factstr_test"

_schemas: dict[Path, str] = {}
_handed_out: set[str] = set()


def fresh_url(folder: Path) -> str:
    """A store's URL with a schema that nobody else has; for the same folder always the same."""
    schema = _schemas.setdefault(folder, f"t_{secrets.token_hex(8)}")
    _handed_out.add(schema)
    return with_schema(server_url(), schema)


def drop_schemas(patience: str = "10s") -> None:
    """Drops the schemas handed out since the last time. Fails if something holds one for longer than that."""
    if not _handed_out:
        return
    # Here, because the client's tests have to do without it.
    import psycopg
    from psycopg import sql

    schemas = sorted(_handed_out)
    _handed_out.clear()
    with psycopg.connect(server_url(), autocommit=True, connect_timeout=10) as connection:
        # A test that left a transaction open is told so; whoever holds the schema is not sent away.
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [patience])
        # Only says that there was none, or what went with it.
        connection.execute("SET client_min_messages = warning")
        for schema in schemas:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


@cache
def server_url() -> str:
    """The shared server's, as libpq takes it: without a schema."""
    operators = os.environ.get("FACTSTR_TEST_POSTGRES_URL")
    if operators:
        return without_schema(operators)
    from tests.postgres.cluster import Cluster

    cluster = Cluster.create()
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return cluster.url(DATABASE)


def with_schema(url: str, schema: str) -> str:
    """The URL with its other parameters as they are."""
    bare = without_schema(url)
    return f"{bare}{'&' if '?' in bare else '?'}schema={schema}"


def without_schema(url: str) -> str:
    """`schema` is a parameter of our stores that libpq does not know."""
    place, _, query = url.partition("?")
    kept = [parameter for parameter in query.split("&") if parameter and not parameter.startswith("schema=")]
    return f"{place}?{'&'.join(kept)}" if kept else place
