"""Who is let in: headers, identity, role, and how many calls at once.

A call is looked at twice. `identify` and `authorize` need nothing but its headers, before its request is read, so that
whoever is turned away makes the server hold nothing. `enter` begins with the whole call: it asks again, because its
caller may have been revoked meanwhile, and counts.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import grpc

from factstr_server.access.awaited_requests import MAX_SLOW, SLOW_SECONDS
from factstr_server.access.callers import ANYBODY, Caller, Callers
from factstr_server.contract.errors import (
    Reason,
    Refusal,
    excerpt,
    permission_denied,
    quota_exceeded,
    server_busy,
    server_draining,
    unauthenticated,
)
from factstr_server.contract.limits import MAX_HEADER_BYTES
from factstr_server.contract.validation import invalid_argument
from factstr_server.rpc.call import Kind, Rpc
from factstr_server.rpc.unknown_fields import unsupported_field

_OWN_PREFIX: Final = "factstr-"
_BEARER: Final = "bearer "
_HEADER_OVERHEAD_BYTES: Final = 32
"""As HTTP/2 counts a header."""

Headers = Sequence[tuple[str, str | bytes]]

_CALLED: Final = {
    Kind.STREAM: "streams",
    Kind.APPEND: "appends",
    Kind.OTHER: "other calls",
}


class CallLimits(NamedTuple):
    """How many calls may be under way at once, by kind."""

    server: tuple[int, int, int]
    token: tuple[int, int, int]


class Admission:
    """Used in one event loop."""

    def __init__(self, limits: CallLimits, callers: Callers | None) -> None:
        self._limits = limits
        self._callers = callers
        self._everybody = Caller("", ANYBODY)
        """All callers together; where nobody is known by name, also the only one."""
        self.draining = False

    def identify(self, rpc: Rpc, headers: Headers) -> Caller | None:
        """Who calls; None where only a certificate can tell. Raises Refusal."""
        if self.draining and not rpc.while_draining:
            raise server_draining()
        authorization: list[str | bytes] = []
        size = 0
        for key, value in headers:
            size += len(key) + len(value) + _HEADER_OVERHEAD_BYTES
            if key.startswith(_OWN_PREFIX):
                raise unsupported_field(
                    f"metadata[{excerpt(key)}]", 0, "a header that this server does not know"
                )
            if key == "authorization":
                authorization.append(value)
        if size > MAX_HEADER_BYTES:
            raise _too_large(size)
        if self._callers is None:
            return self._everybody
        if not authorization:
            if self._callers.certificates:
                return None
            raise unauthenticated("the call carries no token")
        return self._bearer(self._callers, authorization)

    def authorize(self, rpc: Rpc, caller: Caller) -> None:
        """Raises Refusal."""
        if rpc.required_role not in caller.roles:
            raise permission_denied(caller.name, caller.roles, rpc.required_role)

    def begin(self, caller: Caller | None) -> None:
        """A call whose request is now awaited. Raises Refusal."""
        caller = caller or self._everybody
        if caller.awaited.too_slow:
            problem = f"{MAX_SLOW} requests have been awaited for more than {SLOW_SECONDS:g} s"
            if caller is self._everybody:
                raise server_busy(problem, limit=MAX_SLOW, actual=len(caller.awaited) + 1)
            raise quota_exceeded(
                f"{problem} from {caller.name}", limit=MAX_SLOW, actual=len(caller.awaited) + 1
            )
        caller.awaited.begin()

    def enter(self, rpc: Rpc, caller: Caller) -> None:
        """Counts a call, until `leave`. Raises Refusal. The call's request may have come long after its headers."""
        if self.draining and not rpc.while_draining:
            raise server_draining()
        still_valid(caller)
        self.authorize(rpc, caller)
        kind = rpc.kind
        everybody = self._everybody.under_way
        if everybody[kind] >= self._limits.server[kind]:
            raise server_busy(
                f"{everybody[kind]} {_CALLED[kind]} are under way on this server",
                limit=self._limits.server[kind],
                actual=everybody[kind] + 1,
            )
        if caller is not self._everybody:
            if caller.under_way[kind] >= self._limits.token[kind]:
                raise quota_exceeded(
                    f"{caller.under_way[kind]} {_CALLED[kind]} of {caller.name} are under way on this server",
                    limit=self._limits.token[kind],
                    actual=caller.under_way[kind] + 1,
                )
            caller.under_way[kind] += 1
        everybody[kind] += 1

    def leave(self, rpc: Rpc, caller: Caller) -> None:
        self._everybody.under_way[rpc.kind] -= 1
        if caller is not self._everybody:
            caller.under_way[rpc.kind] -= 1

    def _bearer(self, callers: Callers, authorization: Sequence[str | bytes]) -> Caller:
        text = authorization[0]
        if len(authorization) > 1 or isinstance(text, bytes) or text[: len(_BEARER)].lower() != _BEARER:
            raise unauthenticated("it is not one `Bearer` token")
        if caller := callers.by_token(text[len(_BEARER) :].strip()):
            return caller
        raise unauthenticated("the token is not known here, or not any more")

    def by_certificate(self, context: "grpc.aio.ServicerContext[bytes, bytes]") -> Caller:
        """Whom a verified certificate names. Raises Refusal."""
        assert self._callers, "anybody is let in where nobody is known"
        if caller := self._callers.by_certificate(_names_of(context)):
            return caller
        raise unauthenticated("the call carries no token, and no certificate that is known here")


def still_valid(caller: Caller) -> None:
    """Raises Refusal when the caller was revoked meanwhile."""
    if caller.revoked:
        raise unauthenticated("the token or certificate is not known here any more")


def _names_of(context: "grpc.aio.ServicerContext[bytes, bytes]") -> Iterable[str]:
    """The names in a verified certificate: of the subject, or its common name where there is no other."""
    auth = context.auth_context()
    names = auth.get("x509_subject_alternative_name") or auth.get("x509_common_name") or ()
    return [name.decode("utf-8", "replace") for name in names]


def _too_large(size: int) -> Refusal:
    refusal = invalid_argument("metadata", f"takes {size} bytes; at most {MAX_HEADER_BYTES}")
    refusal.metadata.update(limit=str(MAX_HEADER_BYTES), actual=str(size))
    assert refusal.reason is Reason.INVALID_ARGUMENT
    return refusal
