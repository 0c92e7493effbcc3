"""Prepares a schema, so that servers can run on it with a role that may not change it."""

from factstr_server.stores.migration import Migration
from factstr_server.stores.postgres.link import connect
from factstr_server.stores.postgres.location import location_of, shown_url
from factstr_server.stores.postgres.migrations import migrate
from factstr_server.stores.postgres.translation import told_to_people


async def migrate_schema(url: str) -> Migration:
    """Raises StoreError."""
    location = location_of(url)
    with told_to_people(shown_url(url)):
        connection = await connect(location)
        try:
            return await migrate(connection, location)
        finally:
            await connection.close()
