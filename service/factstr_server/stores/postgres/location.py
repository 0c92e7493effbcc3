"""The store's URL: what of it goes to libpq, and what is ours."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from factstr_server.stores.protocol import StoreError

DEFAULT_SCHEMA: Final = "factstr"

_LONGEST_NAME_BYTES: Final = 63
"""Of anything in PostgreSQL; it would cut a longer one without a word."""

_FORM: Final = "postgresql://user:password@host:port/database?schema=factstr"

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

    conninfo: str
    schema: str = DEFAULT_SCHEMA
    listen: bool = True
    """Whether connections keep a session: LISTEN and prepared statements do not pass transaction poolers."""


def location_of(url: str, *, read_only: bool = False) -> Location:
    """The location of a `postgresql://` URL. Raises StoreError."""
    parts = urlsplit(url)
    ours: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ("schema", "listen"):
            ours[name] = value
        else:
            theirs.append((name, value))
    bare = urlunsplit(parts._replace(query=urlencode(theirs, quote_via=quote)))
    if parts.scheme != "postgresql":
        raise StoreError(f"store {shown_url(url)!r} is not in PostgreSQL; write {_FORM}")
    try:
        given = conninfo_to_dict(bare)
    except psycopg.Error as error:
        raise StoreError(f"store {shown_url(url)!r}: {str(error).strip()}; write {_FORM}") from None
    defaults = dict(_PROMPT)
    if read_only:
        del defaults["target_session_attrs"]
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not schema or len(schema.encode()) > _LONGEST_NAME_BYTES or not schema.isprintable():
        raise StoreError(f"schema={schema}: write a name of 1 to {_LONGEST_NAME_BYTES} bytes")
    listen = ours.get("listen", "on")
    if listen not in _SWITCH:
        raise StoreError(f"listen={listen}: write on, or off for a transaction pooler")
    return Location(make_conninfo("", **{**defaults, **given}), schema, _SWITCH[listen])


def shown_url(url: str) -> str:
    """The URL as it may be printed: without a password."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if at and ":" in user:
        user = user.partition(":")[0] + ":***"
    query = [
        (name, "***" if "password" in name else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    shown = parts._replace(netloc=user + at + hosts, query=urlencode(query, quote_via=quote, safe="*"))
    return urlunsplit(shown)
