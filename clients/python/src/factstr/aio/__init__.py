"""The asyncio client, with the names and meanings of the synchronous one: because both share all that is no waiting."""

from factstr.aio.query_result import QueryResult
from factstr.aio.store import EventStore, connect

__all__ = ["EventStore", "QueryResult", "connect"]
