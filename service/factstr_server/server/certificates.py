"""TLS: the server's certificate and the authorities of its clients, from files that may change while it runs.

Each handshake takes what the files held when they were last read whole and found right; connections that stand are left
alone.
"""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import grpc

_MOST_FLIGHTS: Final = 3
"""Of a handshake."""

_OTHER_TIMES: Final = frozenset({9, 10})
"""What OpenSSL says of a certificate that is not valid yet, and of one that has expired."""


class CertificateError(Exception):
    """The files cannot be used for TLS: one line for people."""


class TlsFiles(NamedTuple):
    """Paths of PEM files."""

    cert: str
    key: str
    client_ca: str | None

    @property
    def paths(self) -> list[str]:
        return [path for path in self if path]


class _Loaded(NamedTuple):
    configuration: grpc.ServerCertificateConfiguration
    expires: float | None
    """In seconds since 1970; None where nobody can tell."""


class Certificates:
    """`load` is called in the event loop; gRPC asks for what is loaded from threads of its own, once a handshake."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises CertificateError."""
        self._files = files
        self._current = _read(files)

    @property
    def expires(self) -> float | None:
        """When the server's certificate does, in seconds since 1970."""
        return self._current.expires

    def load(self) -> None:
        """Takes what the files hold now. Raises CertificateError; what was loaded before is used further then."""
        self._current = _read(self._files)

    def credentials(self) -> grpc.ServerCredentials:
        """For one port: gRPC asks each port's credentials for what has changed since it last asked them."""
        told = self._current

        def changed() -> grpc.ServerCertificateConfiguration:
            nonlocal told
            if told is self._current:
                return None  # type: ignore[return-value]  # nothing has changed, as gRPC's documentation has it
            told = self._current
            return told.configuration

        return grpc.dynamic_ssl_server_credentials(
            told.configuration, changed, require_client_authentication=self._files.client_ca is not None
        )


def _read(files: TlsFiles) -> _Loaded:
    """Tries the files first: gRPC would take anything, and fail at every handshake."""
    contents = [_content(path) for path in files.paths]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key that is encrypted is not asked about at the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except ssl.SSLError as error:
        raise CertificateError(
            f"{files.cert} and {files.key} are no certificate and its key ({_said(error)}); give both as PEM, the key "
            "without a password"
        ) from None
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise CertificateError(
                f"{files.client_ca} holds no certificates of authorities ({_said(error)}); give them as PEM"
            ) from None
    expires = _expires(context, files.cert)
    if contents != [_content(path) for path in files.paths]:
        raise CertificateError(f"{', '.join(files.paths)} change while they are read; they are read again")
    cert, key, *client_ca = contents
    return _Loaded(
        grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None), expires
    )


def _expires(server: ssl.SSLContext, cert: str) -> float | None:
    """Has a client of its own, which trusts this certificate alone, look at it. Raises CertificateError where it is of
    another time than now.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    try:
        for _ in range(_MOST_FLIGHTS):
            for end in ends:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        shown = ends[0].getpeercert()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OTHER_TIMES:
            raise CertificateError(
                f"{cert}: {error.verify_message}, so that no client would take it; renew it"
            ) from None
        return None
    except (ssl.SSLError, ValueError):
        return None
    return ssl.cert_time_to_seconds(str(shown["notAfter"])) if shown else None


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None


def _said(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").lower().replace("_", " ")
