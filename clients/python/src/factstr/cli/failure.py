"""Owns how a failure is put into words for the person at the terminal."""

import re
from collections.abc import Sequence
from typing import Final

import grpc

from factstr.errors import FactstrError, OutcomeUnknown

_EVENT_PATH: Final = re.compile(r"events\[(\d+)\]\.?(.*)", re.DOTALL)

_UNCONNECTED: Final = re.compile(
    "failed to connect|connections to all backends|errors? resolving|DNS resolution"
)
_START_ONE: Final = "is the server running? scripts/serve or factstr-server starts one"
_NOT_CONNECTED: Final = (
    ("WRONG_VERSION_NUMBER", "the server does not seem to speak TLS at this address: leave --tls out?"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is not trusted: name its authority with --tls-ca",
    ),
    (
        "name check failed|Hostname Verification|not in peer certificate",
        "the server's certificate bears another name: give it with --tls-server-name",
    ),
    (
        "http1.x|Expected SETTINGS",
        "what answers at this address does not speak gRPC: another port, or --tls?",
    ),
    (
        "Socket closed|[Cc]onnection reset|recvmsg|handshake",
        "the server closes the connection at once: does it want --tls, or a certificate (--tls-client-cert)?",
    ),
    ("errors? resolving|DNS|lookup", "no such host is known"),
    ("No such file", f"no such socket; {_START_ONE}"),
    ("[Cc]onnection refused", f"connection refused; {_START_ONE}"),
    ("failed to connect|connections to all backends", f"no connection; {_START_ONE}"),
)
"""What gRPC says when it has reached nobody, and what that means at a terminal; the first that fits."""


class CommandFailed(Exception):
    """The command cannot go on; its text says what was wrong, where, and what would be right."""


def in_words(error: FactstrError) -> str:
    """Return the message, and below it the fields that it does not name itself."""
    more = [f"  {v.field}: {v.description}" for v in error.field_violations if v.field not in error.message]
    return "\n".join([_message(error), *more])


def _message(error: FactstrError) -> str:
    if error.reason is None and error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        words = "no answer within --timeout"
    elif error.reason is None and _UNCONNECTED.search(error.message):
        words = next(words for sign, words in _NOT_CONNECTED if re.search(sign, error.message))
    else:
        return error.message
    if isinstance(error, OutcomeUnknown):
        words += " (it may or may not have been committed)"
    return words


def in_lines(error: FactstrError, source: str, lines: Sequence[int]) -> str:
    """Return what is wrong with which line of a file, for an append of the events on those lines."""
    wrong = []
    for violation in error.field_violations:
        path = _EVENT_PATH.match(violation.field)
        if path and int(path[1]) < len(lines):
            place = f"{source}:{lines[int(path[1])]}"
            wrong.append(
                f"{place}: {path[2]}: {violation.description}"
                if path[2]
                else f"{place}: {violation.description}"
            )
    if wrong:
        return "\n".join(wrong)
    where = f"{lines[0]}" if len(lines) == 1 else f"{lines[0]}-{lines[-1]}"
    return f"{source}:{where}: {in_words(error)}"
