"""A store verifies its server, shows who is calling, and never sends a token where others could read it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

import factstr
from factstr.connection import checked_target, connection, is_local
from tests.client.command import Command
from tests.client.fake_server import FakeServer, serve

NO_RETRIES = factstr.Retries(limit=0)


@dataclass(frozen=True)
class Certificates:
    """An authority of the tests' own, and what it has signed."""

    server: grpc.ServerCredentials
    mutual: grpc.ServerCredentials
    ca: Path
    client_cert: Path
    client_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server, client = (
        authority.issue_cert("127.0.0.1", "factstr.test"),
        authority.issue_cert("desk@factstr.test"),
    )
    pair = (server.private_key_pem.bytes(), b"".join(blob.bytes() for blob in server.cert_chain_pems))
    paths = (folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(paths[0]))
    client.cert_chain_pems[0].write_to_path(str(paths[1]))
    client.private_key_pem.write_to_path(str(paths[2]))
    return Certificates(
        grpc.ssl_server_credentials([pair]),
        grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True),
        *paths,
    )


@pytest.fixture
def tls_server(certificates: Certificates) -> Iterator[Callable[[grpc.ServerCredentials], FakeServer]]:
    servers = []

    def start(credentials: grpc.ServerCredentials) -> FakeServer:
        fake = FakeServer()
        servers.append(serve(fake, credentials))
        return fake

    yield start
    for server in servers:
        server.stop(None).wait()


Start = Callable[[grpc.ServerCredentials], FakeServer]


def test_a_server_with_a_trusted_certificate_is_used(certificates: Certificates, tls_server: Start) -> None:
    fake = tls_server(certificates.server)
    tls = factstr.TLS(ca=certificates.ca)
    with factstr.connect(fake.target, tls=tls, token="secret") as store:
        assert store.append(factstr.Event("a", 1)).first_sequence_number == 1
        assert len(list(store.query())) == 1
    assert {metadata["authorization"] for metadata in fake.metadata} == {"Bearer secret"}


async def test_the_asyncio_store_speaks_tls_too(certificates: Certificates, tls_server: Start) -> None:
    fake = tls_server(certificates.server)
    tls = factstr.TLS(ca=str(certificates.ca))
    async with factstr.aio.connect(fake.target, tls=tls, token="secret") as store:
        await store.append(factstr.Event("a", 1))
    assert fake.metadata[0]["authorization"] == "Bearer secret"


def test_a_server_that_nobody_vouches_for_is_refused(certificates: Certificates, tls_server: Start) -> None:
    fake = tls_server(certificates.server)
    with (
        factstr.connect(fake.target, tls=True, token="secret", retries=NO_RETRIES) as store,
        pytest.raises(factstr.Unavailable),
    ):
        store.server_info()
    assert not fake.requests


def test_a_servers_name_can_be_said(certificates: Certificates, tls_server: Start) -> None:
    fake = tls_server(certificates.server)
    named = factstr.TLS(ca=certificates.ca, server_name="factstr.test")
    with factstr.connect(fake.target, tls=named) as store:
        assert store.server_info().store_kind == "fake"
    other = factstr.TLS(ca=certificates.ca, server_name="other.test")
    with (
        factstr.connect(fake.target, tls=other, retries=NO_RETRIES) as store,
        pytest.raises(factstr.Unavailable),
    ):
        store.server_info()


def test_a_caller_shows_its_own_certificate(certificates: Certificates, tls_server: Start) -> None:
    fake = tls_server(certificates.mutual)
    anonymous = factstr.TLS(ca=certificates.ca)
    with (
        factstr.connect(fake.target, tls=anonymous, retries=NO_RETRIES) as store,
        pytest.raises(factstr.Unavailable),
    ):
        store.server_info()
    known = factstr.TLS(ca=certificates.ca, cert=certificates.client_cert, key=certificates.client_key)
    with factstr.connect(fake.target, tls=known) as store:
        assert store.server_info().store_kind == "fake"


def test_a_certificate_without_its_key_is_refused(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match=r"takes both: cert=… and key=…"):
        factstr.connect(tls=factstr.TLS(cert=certificates.client_cert))


def test_a_token_crosses_this_machine_without_tls(fake: FakeServer) -> None:
    with factstr.connect(fake.target, token="secret") as store:
        store.server_info()
    assert fake.metadata[0]["authorization"] == "Bearer secret"


def test_a_token_does_not_cross_a_network_without_tls() -> None:
    with pytest.raises(ValueError, match=r"would go to example\.com:50051 in plaintext"):
        factstr.connect("example.com:50051", token="secret")
    with pytest.raises(ValueError, match="in plaintext"):
        factstr.aio.connect("10.0.0.1:50051", token="secret")
    factstr.connect("example.com:50051", token="secret", tls=True).close()
    factstr.connect("example.com:50051", token="secret", allow_plaintext_token=True).close()
    factstr.connect("example.com:50051").close()


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "localhost",
        "127.0.0.1:1",
        "127.8.8.8:1",
        "[::1]:50051",
        "unix:/run/factstr.sock",
        "unix:///run/factstr.sock",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:50051",
    ],
)
def test_a_target_on_this_machine_is_known(target: str) -> None:
    assert is_local(target)


@pytest.mark.parametrize(
    "target",
    [
        "example.com:50051",
        "localhost.example.com:1",
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[::]:1",
        "dns:///example.com:50051",
        "dns://localhost/example.com:50051",
        "dns://localhost:53/example.com:50051",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "xds:///localhost",
        "",
    ],
)
def test_a_target_elsewhere_is_known(target: str) -> None:
    assert not is_local(target)


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "10.0.0.1:1",
        "[::1]:65535",
        "dns:example.com:1",
        "dns:///example.com:1",
        "dns://127.0.0.1:53/example.com:1",
        "ipv4:10.0.0.1:1,10.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:relative.sock",
        "unix:///run/factstr.sock",
        "unix-abstract:factstr",
        "vsock:2:50051",
        "xds:///factstr",
    ],
)
def test_every_address_of_grpc_is_a_target(target: str) -> None:
    assert checked_target(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:http",
        ":50051",
        "::1",
        "::1:50051",
        "dns:///example.com",
        "http://localhost:50051",
        "https://localhost",
        "grpc://localhost:50051",
        "localhost:50051/",
        "/run/factstr.sock",
    ],
)
def test_what_is_no_address_or_has_no_port_is_no_target(target: str) -> None:
    with pytest.raises(ValueError, match=r"it must be host:port, for example localhost:50051, or unix:/path"):
        factstr.connect(target)
    with pytest.raises(ValueError, match="it must be host:port"):
        factstr.aio.connect(target)


@pytest.fixture
def speak(
    fake: FakeServer, certificates: Certificates, tls_server: Start, factstr_command: Command
) -> Callable[..., str]:
    """What the command says on stderr when it asks a server: this one without TLS, or one with it."""
    servers = {
        "plaintext": fake,
        "tls": tls_server(certificates.server),
        "mutual": tls_server(certificates.mutual),
    }

    def speak(server: str, *arguments: str) -> str:
        files = {"CA": certificates.ca}
        ended = factstr_command(
            "info", "--target", servers[server].target, *(str(files.get(a, a)) for a in arguments)
        )
        assert ended.code == 1
        return ended.err.removeprefix(f"factstr: {servers[server].target}: ")

    return speak


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("plaintext", "--tls"), "the server does not seem to speak TLS at this address: leave --tls out?"),
        (("tls",), "the server closes the connection at once: does it want --tls,"),
        (("tls", "--tls"), "the server's certificate is not trusted: name its authority with --tls-ca"),
        (
            ("tls", "--tls-ca", "CA", "--tls-server-name", "other"),
            "the server's certificate bears another name: give it with --tls-server-name",
        ),
        (("mutual", "--tls-ca", "CA"), "does it want --tls, or a certificate (--tls-client-cert)?"),
    ],
)
def test_the_command_says_in_one_line_why_it_is_not_connected(
    speak: Callable[..., str], said: tuple[str, ...], words: str
) -> None:
    error = speak(*said)
    assert words in error
    assert error.count("\n") == 1


def test_no_retry_policy_from_outside_repeats_an_append() -> None:
    to = connection("localhost:1", tls=None, token=None, allow_plaintext_token=False)
    assert dict(to.options)["grpc.service_config_disable_resolution"] == 1


def test_a_dead_connection_is_given_up_at_the_same_time_whether_or_not_anything_else_is_sent() -> None:
    options = dict(connection("localhost:1", tls=None, token=None, allow_plaintext_token=False).options)
    assert options["grpc.http2.ping_timeout_ms"] == options["grpc.keepalive_timeout_ms"]
