"""Certificates and tokens, as in `tests.security`."""

from tests.security.conftest import tls, tokens

__all__ = ("tls", "tokens")
