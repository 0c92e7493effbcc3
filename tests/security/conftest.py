"""Certificates, tokens, and servers that ask for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme

from factstr_server.access.callers import line_of
from factstr_server.access.roles import Role
from factstr_server.access.tokens import new_token
from factstr_server.server import Server, running
from factstr_server.settings import Settings


class Tls:
    """An authority and the files of a server whose certificate it has signed."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key, self.ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        self.ca.write_bytes(self.authority.cert_pem.bytes())
        self.issue()

    def issue(self, *names: str) -> None:
        """The server gets a new certificate."""
        self.write(self.authority.issue_cert(*(names or ("localhost", "127.0.0.1"))))

    def write(self, issued: trustme.LeafCert) -> None:
        # The key first: what is read in between is no pair, and is read again.
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    def trust(self, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        """A client that trusts the authority, and shows a certificate of its own if it has one."""
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            client.private_key_pem.bytes() if client else None,
            b"".join(pem.bytes() for pem in client.cert_chain_pems) if client else None,
        )


class Tokens:
    """A tokens file that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []

    def add(self, name: str, *roles: Role) -> str:
        """A token whose line stands in the file."""
        made = new_token()
        self.lines.append(line_of(made, name, roles))
        self.save()
        return made.token

    def add_certificate(self, identity: str, name: str, *roles: Role) -> None:
        self.lines.append(f"certificate {identity} {name} {','.join(roles)}")
        self.save()

    def remove(self, token: str) -> None:
        token_id = token.split("_")[1]
        self.lines = [line for line in self.lines if token_id not in line]
        self.save()

    def save(self) -> None:
        self.path.write_text("".join(f"{line}\n" for line in self.lines), encoding="utf-8")


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens")


def with_tls(tls: Tls, **more: object) -> Settings:
    return settings(tls_cert=str(tls.cert), tls_key=str(tls.key), **more)


def with_tokens(tokens: Tokens, **more: object) -> Settings:
    return settings(tokens_file=str(tokens.path), **more)


def settings(**more: object) -> Settings:
    wanted: dict[str, object] = {"store": "memory:", "listen": ("127.0.0.1:0",), **more}
    return Settings(**wanted)  # type: ignore[arg-type]


@asynccontextmanager
async def channel_to(
    address: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own: gRPC would let channels to one address share one."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    opened = (
        grpc.aio.secure_channel(address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(address, options)
    )
    async with opened as channel:
        yield channel


@asynccontextmanager
async def served(wanted: Settings) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """A server without TLS, and a channel to it."""
    async with running(wanted) as server, channel_to(server.addresses[0]) as channel:
        yield server, channel


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
