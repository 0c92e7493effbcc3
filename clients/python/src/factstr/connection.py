"""Owns how a server is reached: target, TLS, token, and the options of the channel. The same for both stores."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

import grpc

PathText: TypeAlias = str | os.PathLike[str]

DEFAULT_TARGET: Final = "localhost:50051"
DEFAULT_TIMEOUT: Final = 30.0

# Schemes of gRPC whose addresses are gRPC's own matter.
_OTHER_SCHEMES: Final = ("unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:", "google-c2p:")
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]/]+\]|[^:/,\[\]\s]+):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class TLS:
    """How to verify the server, and how to show who is calling. Each file is PEM, named by its path.

    `ca` holds the authorities to trust instead of the well-known ones; `cert` and `key` are the caller's own
    certificate; `server_name` is the name that the server's certificate must bear when it is not the target's.
    """

    ca: PathText | None = None
    cert: PathText | None = None
    key: PathText | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError, and ValueError when only one of `cert` and `key` is given, or `ca` holds no
        certificate.
        """
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate takes both: cert=… and key=…")
        authorities = _read(self.ca)
        if authorities is not None and b"-----BEGIN CERTIFICATE-----" not in authorities:
            raise ValueError(f"{self.ca} holds no certificate (PEM)")
        return grpc.ssl_channel_credentials(authorities, _read(self.key), _read(self.cert))


def _read(path: PathText | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


Metadata: TypeAlias = tuple[tuple[str, str], ...]
Options: TypeAlias = Sequence[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class Connection:
    """What it takes to open a channel, and what every call on it carries."""

    target: str
    credentials: grpc.ChannelCredentials | None
    options: Options
    metadata: Metadata


def connection(
    target: str, *, tls: bool | TLS | None, token: str | None, allow_plaintext_token: bool
) -> Connection:
    """Return how to reach `target`.

    Raises ValueError for a target that is no address, and when a token would cross a network in plaintext, where
    everyone on the way can read it.
    """
    checked_target(target)
    checked_token(token)
    settings = TLS() if tls is True else tls or None
    local = is_local(target)
    if token and settings is None and not (local or allow_plaintext_token):
        raise ValueError(
            f"the token would go to {target} in plaintext; use TLS, or allow it with allow_plaintext_token"
        )
    options: list[tuple[str, str | int]] = [
        ("grpc.primary_user_agent", "factstr-python"),
        # A service config from DNS could bring a retry policy that repeats appends blindly. gRPC's transparent
        # retries stay on: they repeat only what no server has seen.
        ("grpc.service_config_disable_resolution", 1),
        # A dead connection is noticed within 40 s while a call is under way; nothing is sent while there is none.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Without it a connection on which nothing else is sent is given up a minute after the ping.
        ("grpc.http2.ping_timeout_ms", 10_000),
        # gRPC's own limit is two minutes: too long to stay away from a server that has come back.
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if local:
        # A proxy from the environment is for others' servers, never for this machine's own.
        options.append(("grpc.enable_http_proxy", 0))
    if settings is not None and settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return Connection(
        target,
        None if settings is None else settings.credentials(),
        options,
        # As metadata of each call, because call credentials refuse to go over a channel without TLS.
        (("authorization", f"Bearer {token}"),) if token else (),
    )


def checked_target(target: str) -> str:
    """Return the target. Raises ValueError when it is no address, or one without a port: gRPC would try 443."""
    if target.startswith(_OTHER_SCHEMES):
        return target
    address = target.removeprefix("dns:")
    if address is not target and address.startswith("//"):
        # A name server may stand before the address: dns://server/host:port.
        address = address.removeprefix("//").partition("/")[2]
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise ValueError(
            f"the target is {target!r}; it must be host:port, for example {DEFAULT_TARGET}, or unix:/path"
        )
    return target


def checked_token(token: str | None) -> str | None:
    """Return the token. Raises ValueError when no header can carry it: gRPC would say so call by call, or send none."""
    if token is not None and not (token and all(" " < character <= "~" for character in token)):
        raise ValueError(
            "the token is empty, or holds a character that no header can carry, such as a line end; give it as "
            "`factstr-server token new` has told it, or None"
        )
    return token


def is_local(target: str) -> bool:
    """Tell whether a target stays on this machine: a Unix socket or a loopback address."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    address = target.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    if "/" in address or "," in address:
        # A name server, or several addresses.
        return False
    host = address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
