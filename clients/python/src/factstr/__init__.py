"""Client for the FACTSTR event store: typed, synchronous here and asyncio in `factstr.aio`.

import factstr

with factstr.connect("localhost:50051") as store:
    store.append(factstr.Event("tool-registered", {"tool": {"id": "drill-1"}}))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    from factstr.query_result import QueryResult
    from factstr.retry import Retries
    from factstr.server_info import ServerInfo
    from factstr.store import EventStore, connect

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

_HOMES: Final = ("connection", "errors", "event", "json_text", "query", "retry", "server_info", "store")

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
