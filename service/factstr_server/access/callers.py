"""Who is known: the tokens file, and the callers that it names.

The file has a line for each token, and for each certificate that is taken for one (of a client that mutual TLS has
verified); `#` begins a comment:

    token        1a2b3c4d5e6f      billing    writer            sha256$<salt>$<hash>
    certificate  desk.example.com  desk       writer,consumer

The second word is the token's id, or the name in the certificate (a subject alternative name; the common name where it
has none). The third is for logs and metrics, and several lines may bear the same. A caller keeps its identity for as
long as its line stays as it is; one whose line is gone is revoked, and its streams end at their next message.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from factstr_server.access.awaited_requests import AwaitedRequests
from factstr_server.access.roles import Role, allowed
from factstr_server.access.tokens import KeptSecret, NewToken, parts
from factstr_server.contract.errors import quoted

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Caller:
    """Somebody who may call."""

    __slots__ = ("awaited", "name", "revoked", "roles", "under_way")

    def __init__(self, name: str, roles: Iterable[Role]) -> None:
        self.name = name
        """For people; empty for whoever calls a server that knows nobody."""
        self.roles = allowed(roles)
        self.revoked = False
        self.under_way = [0, 0, 0]
        """Its calls, by kind (`rpc.call.Kind`)."""
        self.awaited = AwaitedRequests()
        """Its calls that are not yet among these."""


ANYBODY: Final = frozenset({Role.ADMIN})
"""What everybody is where nobody is known."""


_NOBODYS: Final = KeptSecret.of("")
"""What a token with an unknown id is compared with, so that it takes as long as one with a known id."""


class _Line(NamedTuple):
    """What a caller is known by. Two that are equal are the same caller."""

    kind: str
    identity: str
    name: str
    roles: frozenset[Role]
    kept: KeptSecret | None


class TokensFileError(Exception):
    """The file says nothing that can be followed: one line for people, which says where."""


class Callers:
    """Who is known now. `replace` may be called between any two calls of the other methods."""

    def __init__(self, text: str) -> None:
        """Raises TokensFileError."""
        self._callers: dict[_Line, Caller] = {}
        self._tokens: dict[str, tuple[KeptSecret, Caller]] = {}
        self._certificates: dict[str, Caller] = {}
        self.replace(text)

    def replace(self, text: str) -> None:
        """Takes another text of the file. Raises TokensFileError; who is known then stays as it was."""
        lines = _read(text)
        callers = {line: self._callers.get(line) or Caller(line.name, line.roles) for line in lines}
        for line, caller in self._callers.items():
            caller.revoked = line not in callers
        self._callers = callers
        self._tokens = {
            line.identity: (line.kept, caller) for line, caller in callers.items() if line.kept is not None
        }
        self._certificates = {line.identity: caller for line, caller in callers.items() if line.kept is None}

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def certificates(self) -> Mapping[str, Caller]:
        """By the name in the certificate."""
        return self._certificates

    def by_token(self, token: str) -> Caller | None:
        token_id, secret = parts(token)
        kept, caller = self._tokens.get(token_id, (_NOBODYS, None))
        return caller if kept.is_of(secret) else None

    def by_certificate(self, names: Iterable[str]) -> Caller | None:
        """The caller of the first of the names that is known."""
        return next((self._certificates[name] for name in names if name in self._certificates), None)


def line_of(made: NewToken, name: str, roles: Iterable[Role]) -> str:
    """The line to keep of a new token."""
    return f"token {made.token_id} {name} {','.join(roles)} {made.kept}"


def checked_name(name: str) -> str:
    """Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the name is {quoted(name)}; write 1 to 64 letters, digits, and . _ - @, beginning with a letter or digit"
        )
    return name


def read_roles(text: str) -> frozenset[Role]:
    """Raises ValueError."""
    try:
        return frozenset(Role(word) for word in text.split(","))
    except ValueError:
        raise ValueError(
            f"the role is {quoted(text)}; write one of {', '.join(Role)}, or several with commas between them"
        ) from None


def _read(text: str) -> list[_Line]:
    lines: dict[tuple[str, str], _Line] = {}
    for number, written in enumerate(text.splitlines(), 1):
        words = written.partition("#")[0].split()
        if not words:
            continue
        try:
            line = _line(words)
        except ValueError as error:
            raise TokensFileError(f"line {number}: {error}") from None
        if (line.kind, line.identity) in lines:
            raise TokensFileError(f"line {number}: {quoted(line.identity)} stands in an earlier line already")
        lines[line.kind, line.identity] = line
    if not lines:
        raise TokensFileError(
            "names nobody, so that nobody could call; make a token with factstr-server token new"
        )
    return list(lines.values())


def _line(words: list[str]) -> _Line:
    """Raises ValueError."""
    match words:
        case ["token", token_id, name, roles, kept]:
            try:
                secret = KeptSecret.parse(kept)
            except ValueError:
                raise ValueError(
                    "what is kept of the token is damaged; write the line as token new printed it"
                ) from None
            return _Line("token", token_id, checked_name(name), read_roles(roles), secret)
        case ["certificate", identity, name, roles]:
            return _Line("certificate", identity, checked_name(name), read_roles(roles), None)
    raise ValueError("write `token ID NAME ROLES HASH` or `certificate IDENTITY NAME ROLES`")
