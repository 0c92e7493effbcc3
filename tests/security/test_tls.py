"""TLS: who is served over it, who is not, and certificates that change while the server runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

import factstr
from factstr_server.access.roles import Role
from factstr_server.server import Server, StartupError, running
from factstr_server.server.certificates import CertificateError, Certificates, TlsFiles
from tests.security.calls import APPEND, append, path_of, unary
from tests.security.conftest import Tls, Tokens, bearer, channel_to, settings, with_tls
from tests.waiting import until

APPEND_RPC = path_of("factstr.v1.EventStoreService.Append")


async def served_over(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether there is a connection at all."""
    async with channel_to(address, credentials) as channel:
        call = unary(channel, APPEND_RPC)(APPEND.SerializeToString(), timeout=20)
        code = await call.code()
    assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    return code is grpc.StatusCode.OK


async def test_a_client_that_trusts_the_authority_is_served_and_others_are_not(tls: Tls) -> None:
    async with running(with_tls(tls)) as server:
        [address] = server.addresses
        assert await served_over(address, tls.trust())
        assert not await served_over(address, None)
        assert not await served_over(address, grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes()))
        assert await server.log.head() == 1


async def test_with_mutual_tls_only_clients_with_a_certificate_of_the_authority_are_served(tls: Tls) -> None:
    async with running(with_tls(tls, tls_client_ca=str(tls.ca))) as server:
        [address] = server.addresses
        assert await served_over(address, tls.trust(tls.authority.issue_cert("desk.example")))
        assert not await served_over(address, tls.trust())
        assert not await served_over(address, tls.trust(trustme.CA().issue_cert("desk.example")))
        assert await server.log.head() == 1


async def test_a_certificate_is_taken_for_a_token_where_its_name_is_known(tls: Tls, tokens: Tokens) -> None:
    tokens.add_certificate("desk.example", "desk", Role.WRITER)
    tokens.add_certificate("mesh.example", "mesh", Role.READER)
    tokens.add_certificate("old-desk", "old", Role.WRITER)
    token = tokens.add("bearer", Role.WRITER)
    wanted = with_tls(tls, tls_client_ca=str(tls.ca), tokens_file=str(tokens.path))
    issue = tls.authority.issue_cert
    async with running(wanted) as server:
        [address] = server.addresses
        for certificate, headers, reason in (
            (issue("desk.example"), (), None),
            (issue("other.example", "desk.example"), (), None),
            (issue("other.example"), (), "UNAUTHENTICATED"),
            (issue("mesh.example"), (), "PERMISSION_DENIED"),
            # The common name counts where there is no other name, and not where there is one.
            (issue(common_name="old-desk"), (), None),
            (issue("other.example", common_name="old-desk"), (), "UNAUTHENTICATED"),
            # A token that is sent counts alone.
            (issue("other.example"), bearer(token), None),
            (issue("desk.example"), bearer("factstr_000000000000_no"), "UNAUTHENTICATED"),
        ):
            async with channel_to(address, tls.trust(certificate)) as channel:
                failure = await append(channel, headers)
            assert (failure.reason if failure else None) == reason
            if reason == "UNAUTHENTICATED" and not headers:
                assert failure is not None
                assert "no token, and no certificate that is known here" in failure.message


async def test_who_may_not_is_named_in_the_log_by_its_certificate_too(
    tls: Tls, tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    tokens.add_certificate("mesh.example", "mesh", Role.READER)
    wanted = with_tls(tls, tls_client_ca=str(tls.ca), tokens_file=str(tokens.path))
    async with running(wanted) as server:
        shown = tls.trust(tls.authority.issue_cert("mesh.example"))
        async with channel_to(server.addresses[0], shown) as channel:
            assert await append(channel) is not None
    [record] = [record for record in caplog.records if record.name == "factstr_server.calls"]
    assert vars(record)["fields"]["token"] == "mesh"


async def test_a_renewed_certificate_counts_for_new_connections_and_those_that_stand_go_on(tls: Tls) -> None:
    async with running(with_tls(tls)) as server:
        [address] = server.addresses
        old = tls.trust()
        async with channel_to(address, old) as standing:
            assert await append(standing) is None
            tls.authority = trustme.CA()
            tls.issue()
            tls.ca.write_bytes(tls.authority.cert_pem.bytes())
            server.reloading.look()
            assert await served_over(address, tls.trust())
            assert not await served_over(address, old)
            assert await append(standing) is None


async def test_files_are_looked_at_without_being_told(tls: Tls) -> None:
    async with running(with_tls(tls)) as server:
        assert server._certificates is not None
        before = server._certificates._current
        tls.issue()
        await until(lambda: server._certificates._current is not before, "the certificate is read again")  # type: ignore[union-attr]


async def test_a_broken_renewal_leaves_the_certificate_in_use_and_is_told_in_the_log(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(with_tls(tls)) as server:
        tls.cert.write_text("no certificate", encoding="utf-8")
        server.reloading.look()
        assert "are no certificate and its key" in caplog.text
        assert "what was read before holds further" in caplog.text
        assert await served_over(server.addresses[0], tls.trust())
        tls.issue()
        server.reloading.look()
        assert caplog.text.count("holds further") == 1
        assert await served_over(server.addresses[0], tls.trust())


async def test_links_that_are_turned_to_new_files_are_followed(tls: Tls, tmp_path: Path) -> None:
    """As Kubernetes updates the volume of a Secret."""
    first, second = tmp_path / "..1", tmp_path / "..2"
    for folder in (first, second):
        folder.mkdir()
        issued = tls.authority.issue_cert("localhost", "127.0.0.1")
        (folder / "key").write_bytes(issued.private_key_pem.bytes())
        (folder / "cert").write_bytes(issued.cert_chain_pems[0].bytes())
    current = tmp_path / "..data"
    current.symlink_to(first)
    wanted = settings(tls_cert=str(current / "cert"), tls_key=str(current / "key"))
    async with running(wanted) as server:
        assert server._certificates is not None
        before = server._certificates._current
        turned = tmp_path / "..turned"
        turned.symlink_to(second)
        turned.rename(current)
        server.reloading.look()
        assert server._certificates._current is not before


async def test_unix_sockets_and_several_addresses_stand_beside_tls(tls: Tls, tmp_path: Path) -> None:
    listen = ("127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/s")
    async with running(with_tls(tls, listen=listen)) as server:
        assert len(set(server.addresses)) == 3
        for address in server.addresses[:2]:
            assert await served_over(address, tls.trust())
        assert await served_over(server.addresses[2], None)
        assert await server.log.head() == 3


async def test_the_python_client_comes_in_by_tls_certificate_and_token(tls: Tls, tokens: Tokens) -> None:
    token = tokens.add("desk", Role.WRITER)
    wanted = with_tls(tls, tls_client_ca=str(tls.ca), tokens_file=str(tokens.path))
    own = tls.authority.issue_cert("desk.example")
    folder = tls.ca.parent
    (folder / "own.key").write_bytes(own.private_key_pem.bytes())
    (folder / "own.crt").write_bytes(own.cert_chain_pems[0].bytes())
    shown = factstr.TLS(ca=tls.ca, cert=folder / "own.crt", key=folder / "own.key")
    async with (
        running(wanted) as server,
        factstr.aio.connect(server.addresses[0], tls=shown, token=token) as store,
    ):
        assert (await store.append(factstr.Event("a", 1))).last_sequence_number == 1


def encrypted(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_files_that_are_no_certificate_are_refused_at_the_start_in_one_line(tls: Tls, tmp_path: Path) -> None:
    good = TlsFiles(str(tls.cert), str(tls.key), str(tls.ca))
    Certificates(good)
    other = Tls(tmp_path_of(tmp_path, "other"))
    (tmp_path / "text").write_text("no PEM", encoding="utf-8")
    (tmp_path / "locked").write_bytes(encrypted(tls.key.read_bytes()))
    for files, said in (
        (
            good._replace(cert=str(tmp_path / "none")),
            f"cannot read {tmp_path}/none: No such file or directory",
        ),
        (good._replace(key=str(tmp_path)), f"cannot read {tmp_path}: Is a directory"),
        (good._replace(cert=str(tmp_path / "text")), "are no certificate and its key"),
        (good._replace(key=str(other.key)), "are no certificate and its key (key values mismatch)"),
        (good._replace(key=str(tmp_path / "locked")), "the key without a password"),
        (good._replace(client_ca=str(tmp_path / "text")), "holds no certificates of authorities"),
    ):
        with pytest.raises(CertificateError) as refused:
            Certificates(files)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
        with pytest.raises(StartupError, match=r"^(cannot read|/)"):
            Server(settings(tls_cert=files.cert, tls_key=files.key, tls_client_ca=files.client_ca))


async def test_a_certificate_of_another_time_is_refused_and_the_one_in_use_stays(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    day = timedelta(days=1)
    now = datetime.now(UTC)
    for not_before, not_after, said in (
        (now - 2 * day, now - day, "certificate has expired"),
        (now + day, now + 2 * day, "certificate is not yet valid"),
    ):
        good = tls.authority.issue_cert("127.0.0.1", not_after=now + day)
        tls.write(good)
        async with running(with_tls(tls, metrics_listen="127.0.0.1:0")) as server:
            tls.write(tls.authority.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after))
            server.reloading.look()
            assert said in caplog.text
            assert await served_over(server.addresses[0], tls.trust())
            assert server._certificates is not None
            assert server._certificates.expires == int((now + day).timestamp())
        with pytest.raises(StartupError, match=f"{said}, so that no client would take it; renew it"):
            Server(with_tls(tls))


def tmp_path_of(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name
