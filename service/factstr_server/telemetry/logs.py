"""The log: its lines, as text or JSON, and those that calls leave. Never what a call carried.

A line is a message and named values (`extra={"fields": {...}}`), which stand behind the message as text, and beside it
in JSON.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from factstr_server.contract.errors import Reason
from factstr_server.rpc.call import CANCELLED, CODE_NAMES, OK, EndedCall

MOST_LINES_A_SECOND: Final = 200
"""About calls. What is left out is counted, so that a flood of bad calls is no flood of lines."""

_WARNED_OF: Final = frozenset(
    {
        Reason.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED,
        Reason.SERVER_BUSY,
        Reason.QUOTA_EXCEEDED,
        Reason.STORE_FULL,
        Reason.STORE_UNAVAILABLE,
        Reason.STORE_CORRUPT,
        Reason.LOG_DIVERGED,
        Reason.APPEND_OUTCOME_UNKNOWN,
        Reason.INTERNAL,
    }
)
"""What somebody should look at who runs the server. The rest is between a caller and its facts."""

_QUIET: Final = frozenset({Reason.CONDITIONAL_APPEND_CONFLICT, Reason.SERVER_DRAINING})
"""Failures that belong to the ordinary course of things."""

_log = logging.getLogger("factstr_server.calls")


PLAIN: Final = "factstr_server.plain"
"""The logger of what is for people first: as text, its lines are their messages and nothing else."""


class Out(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


def configure(log_format: str, out: Out) -> None:
    """Sends the log of the whole process there."""
    # Otherwise what cannot be written is told where it cannot be written.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Of calls that are none gRPC says so there, with a traceback each; whoever can connect could fill the log.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)


class TextLines(logging.Formatter):
    """`2026-11-29T10:00:00.000000Z INFO factstr_server.calls: Append: OK token=billing seconds=0.0012`"""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == PLAIN:
            return record.getMessage()
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{_moment(record)} {record.levelname} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": "factstr_server" if record.name == PLAIN else record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class CallLog:
    """Is told of each call that has ended (`Edge.on_ended`). Used in one event loop."""

    def __init__(self, which: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`which`: failed or all."""
        self._all = which == "all"
        self._clock = clock
        self._second = 0
        self._lines = self._left_out = 0

    def __call__(self, call: EndedCall) -> None:
        refusal = call.refusal
        if refusal and refusal.reason in _WARNED_OF:
            level = logging.WARNING
        elif self._all or (call.code not in {OK, CANCELLED} and not (refusal and refusal.reason in _QUIET)):
            level = logging.INFO
        else:
            return
        if self._has_room():
            _log.log(level, "%s: %s", call.rpc.name, CODE_NAMES[call.code], extra={"fields": _said(call)})

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            if self._left_out:
                _log.warning("calls that left no line of their own: %d", self._left_out)
            self._second, self._lines, self._left_out = second, 0, 0
        self._lines += 1
        if self._lines > MOST_LINES_A_SECOND:
            self._left_out += 1
            return False
        return True


def _said(call: EndedCall) -> Mapping[str, object]:
    fields: dict[str, object] = {
        "request_id": call.request_id,
        "peer": call.peer,
        "token": call.caller,
        "method": f"{call.rpc.service}/{call.rpc.name}",
        "code": CODE_NAMES[call.code],
        "seconds": round(call.seconds, 6),
    }
    if call.refusal:
        fields["reason"] = str(call.refusal.reason)
        if error_id := call.refusal.metadata.get("error_id"):
            fields["error_id"] = error_id
    return fields


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(' "') else json.dumps(text)
