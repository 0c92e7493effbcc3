"""One RPC: what is known of it, and what has come of its calls."""

from collections import Counter
from contextvars import ContextVar
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import unquote
from uuid import uuid4

import grpc
from google.protobuf.descriptor import MethodDescriptor

from factstr_server.access.roles import REQUIRED_ROLES
from factstr_server.contract.errors import Refusal, excerpt
from factstr_server.log.figures import Histogram

CODE_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
"""Of gRPC's status codes, by number."""

OK: Final = 0
CANCELLED: Final = 1
DEADLINE_EXCEEDED: Final = 4


class Kind(IntEnum):
    """What calls are limited by, each kind for itself."""

    STREAM = 0
    """Whatever may last: every stream, queries too, and whoever waits for a cursor."""
    APPEND = 1
    OTHER = 2


class CallFigures:
    """Of the calls of one RPC since the server has started."""

    __slots__ = ("codes", "received", "seconds", "sent", "started")

    def __init__(self) -> None:
        self.started = self.received = self.sent = 0
        self.codes: Counter[int] = Counter()
        """Calls that have ended, by gRPC status code."""
        self.seconds = Histogram()

    def ended(self, code: int, seconds: float) -> None:
        self.codes[code] += 1
        self.seconds.add(seconds)

    @property
    def under_way(self) -> int:
        return self.started - self.codes.total()


class Rpc:
    """One method of one service."""

    __slots__ = (
        "figures",
        "full_name",
        "grpc_type",
        "kind",
        "name",
        "required_role",
        "service",
        "while_draining",
    )

    def __init__(self, method: MethodDescriptor, *, while_draining: bool) -> None:
        self.full_name = method.full_name
        self.name = method.name
        self.service = method.containing_service.full_name
        self.while_draining = while_draining
        """It is served until the ports close."""
        self.required_role = REQUIRED_ROLES[method.full_name]
        self.kind = _kind(method)
        self.grpc_type = _TYPES[method.client_streaming, method.server_streaming]
        """As the usual gRPC metrics name it."""
        self.figures = CallFigures()


class EndedCall(NamedTuple):
    """What may be said of a call when it is over. Nothing of what it carried."""

    rpc: Rpc
    caller: str
    """The name of its token or certificate; empty where nobody is known by name."""
    code: int
    seconds: float
    refusal: Refusal | None
    """Why it failed, where the server says so."""
    context: "grpc.aio.ServicerContext[bytes, bytes]"

    @property
    def peer(self) -> str:
        return unquote(str(self.context.peer()))

    @property
    def request_id(self) -> str:
        return request_id(self.context)


_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Each call has a context of its own."""


def request_id(context: "grpc.aio.ServicerContext[bytes, bytes]") -> str:
    """What the call under way is known by: as its client names it (`x-request-id`), else as it is named here."""
    known = _request_id.get()
    if not known:
        given = (value for key, value in context.invocation_metadata() or () if key == "x-request-id")
        text = next(given, "")
        known = excerpt(text) if isinstance(text, str) and text else uuid4().hex
        _request_id.set(known)
    return known


_TYPES: Final = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


def _kind(method: MethodDescriptor) -> Kind:
    if method.server_streaming or method.name == "AwaitDurableStream":
        return Kind.STREAM
    return Kind.APPEND if method.name in {"Append", "AppendIf"} else Kind.OTHER
