"""The asyncio client, with the names and meanings of the synchronous one: because both share all that is no waiting."""

from factstr.aio.appender import Appender, PendingAppend
from factstr.aio.durable_batches import DurableBatches
from factstr.aio.live_stream import LiveStream
from factstr.aio.query_result import QueryResult
from factstr.aio.store import EventStore, connect

__all__ = [
    "Appender",
    "DurableBatches",
    "EventStore",
    "LiveStream",
    "PendingAppend",
    "QueryResult",
    "connect",
]
