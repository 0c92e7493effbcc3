"""Client for the FACTSTR event store: typed, synchronous here and asyncio in `factstr.aio`.

import factstr

with factstr.connect("localhost:50051") as store:
    store.append(factstr.Event("tool-registered", {"tool": {"id": "drill-1"}}))
"""

from factstr import aio
from factstr.connection import TLS
from factstr.errors import (
    BatchTooLarge,
    ConditionalAppendConflict,
    DeadlineExceeded,
    FactstrError,
    FieldViolation,
    IdempotencyKeyReused,
    InvalidRequest,
    NotImplementedByServer,
    OutcomeUnknown,
    PermissionDenied,
    ServerBusy,
    ServerError,
    StoreClosed,
    StoreFull,
    Unauthenticated,
    Unavailable,
)
from factstr.event import AppendResult, Context, Event, EventRecord
from factstr.json_text import JsonText, JsonValue
from factstr.query import EventFilter, EventQuery, everything, where
from factstr.retry import Retries
from factstr.server_info import ServerInfo
from factstr.store import EventStore, QueryResult, connect

__all__ = [
    "TLS",
    "AppendResult",
    "BatchTooLarge",
    "ConditionalAppendConflict",
    "Context",
    "DeadlineExceeded",
    "Event",
    "EventFilter",
    "EventQuery",
    "EventRecord",
    "EventStore",
    "FactstrError",
    "FieldViolation",
    "IdempotencyKeyReused",
    "InvalidRequest",
    "JsonText",
    "JsonValue",
    "NotImplementedByServer",
    "OutcomeUnknown",
    "PermissionDenied",
    "QueryResult",
    "Retries",
    "ServerBusy",
    "ServerError",
    "ServerInfo",
    "StoreClosed",
    "StoreFull",
    "Unauthenticated",
    "Unavailable",
    "aio",
    "connect",
    "everything",
    "where",
]
