"""Addresses and ports: what a server listens on, and what it lets clients do to a connection."""

import os
import socket
from pathlib import Path
from typing import Final

import grpc

from factstr_server.contract.limits import (
    MAX_CALLS_PER_CONNECTION,
    MAX_CONNECTIONS,
    MAX_REQUEST_BYTES,
    MIN_PING_INTERVAL,
)

_UNIX: Final = "unix:"
_UNIX_ABSTRACT: Final = "unix-abstract:"

_LONGEST_UNIX_PATH_BYTES: Final = 107

_MAX_HEADERS_BYTES: Final = 64 * 1024
"""Of a call; beyond it gRPC refuses. What is too large within it gets our error."""

GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", _MAX_HEADERS_BYTES),
    ("grpc.absolute_max_metadata_size", _MAX_HEADERS_BYTES),
    # Two servers on one port would share its calls, and a taken port would go unnoticed.
    ("grpc.so_reuseport", 0),
    # From a thousand calls that wait to be looked at gRPC turns some away with a bare CANCELLED. Ours is the bounded
    # queue, which says SERVER_BUSY.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_concurrent_streams", MAX_CALLS_PER_CONNECTION),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    # A connection that does not become one of HTTP/2, or of TLS, is not kept.
    ("grpc.server_handshake_timeout_ms", 20_000),
    # Who pings more often is told to go away, at the third time.
    ("grpc.http2.min_ping_interval_without_data_ms", int(MIN_PING_INTERVAL.total_seconds() * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What bounds the wait for a ping's answer, whatever the keepalive timeout says; a minute unless it is set.
    ("grpc.http2.ping_timeout_ms", 5_000),
)


class StartupError(Exception):
    """The server cannot start: one line for the person who started it."""


def listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None, flag: str = "--listen"
) -> str:
    """Opens a port, of a TCP address with the credentials, and gives its address, with its number where that was 0.

    Raises StartupError.
    """
    unix = address.startswith((_UNIX, _UNIX_ABSTRACT))
    if address.startswith(_UNIX):
        _check_socket(Path(address.removeprefix(_UNIX).removeprefix("//")), flag)
    try:
        port = (
            server.add_secure_port(address, credentials)
            if credentials and not unix
            else server.add_insecure_port(address)
        )
    except RuntimeError:
        raise StartupError(
            f"cannot listen on {address}: the address is taken or not this machine's; choose another with {flag}"
        ) from None
    return address if unix else f"{address.rpartition(':')[0]}:{port}"


def _check_socket(path: Path, flag: str) -> None:
    """What gRPC would do without a word: take a socket over from a server that has it, or fail for no reason."""
    if len(os.fsencode(path)) > _LONGEST_UNIX_PATH_BYTES:
        raise StartupError(
            f"cannot listen on unix:{path}: a socket's path has at most {_LONGEST_UNIX_PATH_BYTES} bytes; choose a "
            f"shorter one with {flag}"
        )
    if not path.parent.is_dir():
        raise StartupError(
            f"cannot listen on unix:{path}: there is no folder {path.parent}; make it, or choose another with {flag}"
        )
    if path.exists() and not path.is_socket():
        raise StartupError(
            f"cannot listen on unix:{path}: there is a file, which is no socket; choose another with {flag}"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return  # Nobody answers there.
    raise StartupError(
        f"cannot listen on unix:{path}: another server answers there; stop it, or choose another with {flag}"
    )
