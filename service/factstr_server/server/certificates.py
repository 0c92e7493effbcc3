"""TLS: the server's certificate and the authorities of its clients, from files that may change while it runs.

Each handshake takes what the files held when they were last read whole and found right; connections that stand are left
alone.
"""

import ssl
from pathlib import Path
from typing import NamedTuple

import grpc


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


class Certificates:
    """`load` is called in the event loop; gRPC asks for what is loaded from threads of its own, once a handshake."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises CertificateError."""
        self._files = files
        self._current = _read(files)

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
            return told

        return grpc.dynamic_ssl_server_credentials(
            told, changed, require_client_authentication=self._files.client_ca is not None
        )


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
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
    if contents != [_content(path) for path in files.paths]:
        raise CertificateError(f"{', '.join(files.paths)} change while they are read; they are read again")
    cert, key, *client_ca = contents
    return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None


def _said(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").lower().replace("_", " ")
