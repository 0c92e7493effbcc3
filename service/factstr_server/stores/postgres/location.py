"""The store's URL: what of it goes to libpq, and what is ours."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from factstr_server.stores.protocol import StoreError

DEFAULT_SCHEMA: Final = "factstr"

_LONGEST_NAME_BYTES: Final = 63
"""Of anything in PostgreSQL; it would cut a longer one without a word."""

_FORM: Final = "postgresql://user:password@host:port/database?schema=factstr"

_SCHEME: Final = "postgresql://"

_SECRETS: Final = ("password", "secret", "scram_")
"""In the names of parameters whose values nobody may see."""

_SCHEMA_NAME: Final = re.compile(r"(?!pg_)[^\W\d]\w*")

_SWITCH: Final = {"on": True, "off": False}

_PROMPT: Final = {
    # A server that has gone without a word is noticed in about ten seconds, not in two hours.
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Facts are written where they can be: with several hosts, on the one that is the primary now.
    "target_session_attrs": "read-write",
    "application_name": "factstr-server",
    "client_encoding": "UTF8",
}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a store is, and how it is talked to."""

    conninfo: str = field(repr=False)
    """Holds the password."""
    schema: str = DEFAULT_SCHEMA
    listen: bool = True
    """Whether connections keep a session: LISTEN and prepared statements do not pass transaction poolers."""


def location_of(url: str, *, read_only: bool = False) -> Location:
    """The location of a `postgresql://` URL. Raises StoreError."""
    place, _, query = url.partition("?")
    if not place.startswith(_SCHEME):
        raise StoreError(f"store {shown_url(url)!r} is not in PostgreSQL; write {_FORM}")
    if _is_ambiguous(url):
        raise StoreError(
            f"store {shown_url(url)!r}: a name or password holds a character that means something in a URL; write @ as "
            f"%40, / as %2F, ? as %3F and # as %23, as in {_FORM}"
        )
    ours: dict[str, str] = {}
    theirs: list[str] = []
    for parameter in filter(None, query.split("&")):
        name, _, value = parameter.partition("=")
        if name in ("schema", "listen"):
            ours[name] = unquote(value)
        else:
            theirs.append(parameter)
    try:
        given = conninfo_to_dict("?".join(filter(None, (place, "&".join(theirs)))))
    except psycopg.Error as error:
        # What libpq quotes may be the password.
        problem = str(error).strip().partition(":")[0]
        raise StoreError(f"store {shown_url(url)!r}: {problem}; write {_FORM}") from None
    defaults = dict(_PROMPT)
    if read_only:
        del defaults["target_session_attrs"]
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA_NAME.fullmatch(schema) or len(schema.encode()) > _LONGEST_NAME_BYTES:
        raise StoreError(
            f"schema={schema}: write a name of letters, digits and underscores, of at most {_LONGEST_NAME_BYTES} bytes"
        )
    listen = ours.get("listen", "on")
    if listen not in _SWITCH:
        raise StoreError(f"listen={listen}: write on, or off for a transaction pooler")
    return Location(make_conninfo("", **{**defaults, **given}), schema, _SWITCH[listen])


def shown_url(url: str) -> str:
    """The URL of any store as it may be printed: without a password, and without what may be part of one."""
    scheme, separator, rest = url.partition("://")
    if _is_ambiguous(url):
        return f"{scheme if separator else url.partition(':')[0]}{separator or ':'}***"
    place, mark, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    user, at, hosts = authority.rpartition("@")
    if ":" in user:
        user = user.partition(":")[0] + ":***"
    shown = [
        f"{name}=***" if any(word in unquote(name).lower() for word in _SECRETS) else parameter
        for parameter in query.split("&")
        for name in (parameter.partition("=")[0],)
    ]
    return scheme + separator + user + at + hosts + slash + path + mark + "&".join(shown)


def _is_ambiguous(url: str) -> bool:
    """Whether a name or password may have been cut by a character that it holds."""
    _, separator, rest = url.partition("://")
    if not separator:
        return "@" in url
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    return bool(authority) and (
        "@" in path or authority.count("@") > 1 or ("@" in query and "@" not in authority)
    )
