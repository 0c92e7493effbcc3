"""How far a standby has come with a store's log."""

import psycopg
from psycopg import sql

from tests.postgres.cluster import Cluster


def replayed_head(standby: Cluster, schema: str = "factstr") -> int:
    """Where the log ends there; 0 also as long as the standby has not heard of the store."""
    query = sql.SQL("SELECT sequence_number FROM {}").format(sql.Identifier(schema, "head"))
    with standby.connect() as connection:
        try:
            row = connection.execute(query).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    return 0 if row is None else int(row[0])
