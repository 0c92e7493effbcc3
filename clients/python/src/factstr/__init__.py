"""Client for the FACTSTR event store: typed, synchronous here and asyncio in `factstr.aio`.

import factstr

with factstr.connect("localhost:50051") as store:
    store.append(factstr.Event("tool-registered", {"tool": {"id": "drill-1"}}))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from factstr import aio
    from factstr.appender import Appender
    from factstr.batch import CommittedBatch, DurableBatch
    from factstr.connection import TLS
    from factstr.durable_batches import DurableBatches
    from factstr.durable_stream import AT_HEAD, AwaitResult, DurableStreamInfo, LeaseWaiting, Start
    from factstr.errors import (
        BatchTooLarge,
        ConditionalAppendConflict,
        CursorAheadOfLog,
        DeadlineExceeded,
        DurableStreamActive,
        DurableStreamNotFound,
        FactstrError,
        FieldViolation,
        IdempotencyKeyReused,
        InvalidRequest,
        LeaseLost,
        LogDiverged,
        NotImplementedByServer,
        OutcomeUnknown,
        PermissionDenied,
        QueryMismatch,
        ServerBusy,
        ServerError,
        StoreClosed,
        StoreFull,
        Unauthenticated,
        Unavailable,
    )
    from factstr.event import AppendResult, Context, Event, EventRecord
    from factstr.json_text import JsonText, JsonValue
    from factstr.live_stream import LiveStream
    from factstr.pending_append import PendingAppend
    from factstr.query import EventFilter, EventQuery, everything, where
    from factstr.query_result import QueryResult
    from factstr.resuming import OnInterruption
    from factstr.retry import Retries
    from factstr.server_info import ServerInfo
    from factstr.store import EventStore, connect

__all__ = [
    "AT_HEAD",
    "TLS",
    "AppendResult",
    "Appender",
    "AwaitResult",
    "BatchTooLarge",
    "CommittedBatch",
    "ConditionalAppendConflict",
    "Context",
    "CursorAheadOfLog",
    "DeadlineExceeded",
    "DurableBatch",
    "DurableBatches",
    "DurableStreamActive",
    "DurableStreamInfo",
    "DurableStreamNotFound",
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
    "LeaseLost",
    "LeaseWaiting",
    "LiveStream",
    "LogDiverged",
    "NotImplementedByServer",
    "OnInterruption",
    "OutcomeUnknown",
    "PendingAppend",
    "PermissionDenied",
    "QueryMismatch",
    "QueryResult",
    "Retries",
    "ServerBusy",
    "ServerError",
    "ServerInfo",
    "Start",
    "StoreClosed",
    "StoreFull",
    "Unauthenticated",
    "Unavailable",
    "aio",
    "connect",
    "everything",
    "where",
]

_HOMES: Final = (
    "appender",
    "batch",
    "connection",
    "durable_batches",
    "durable_stream",
    "errors",
    "event",
    "json_text",
    "live_stream",
    "pending_append",
    "query",
    "query_result",
    "resuming",
    "retry",
    "server_info",
    "store",
)

if not TYPE_CHECKING:
    # So that `factstr.cli` can be imported before gRPC is, which reads its settings at that moment.
    def __getattr__(name: str) -> object:
        """Import all that is public when the first of it is asked for."""
        if not name.startswith("__"):
            import_module("factstr.aio")
            for home in _HOMES:
                names = vars(import_module(f"factstr.{home}"))
                globals().update({public: names[public] for public in __all__ if public in names})
        if name not in globals():
            raise AttributeError(f"module 'factstr' has no attribute {name!r}")
        return globals()[name]

    def __dir__() -> list[str]:
        """Name the public names too while they are not imported."""
        return sorted({*globals(), *__all__})
