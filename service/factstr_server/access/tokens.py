"""What a token is, and what is kept of it.

A token is `factstr_<id>_<secret>`: the id finds its line without any secret being looked up, the secret is 32 random
bytes. Of the secret only a salted SHA-256 is kept. Nothing slower is needed: what is guessed here has 256 bits.
"""

import hashlib
import hmac
import secrets
from typing import Final, NamedTuple

_PREFIX: Final = "factstr"
_HASH: Final = "sha256"
_SALT_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 6
_LONGEST_TOKEN: Final = 200


class KeptSecret(NamedTuple):
    """What is kept of a secret."""

    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, secret: str) -> "KeptSecret":
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(salt, _digest(salt, secret))

    @classmethod
    def parse(cls, text: str) -> "KeptSecret":
        """Raises ValueError."""
        kind, salt, digest = text.split("$")
        kept = cls(bytes.fromhex(salt), bytes.fromhex(digest))
        if kind != _HASH or len(kept.digest) != hashlib.sha256().digest_size or not kept.salt:
            raise ValueError
        return kept

    def __str__(self) -> str:
        return f"{_HASH}${self.salt.hex()}${self.digest.hex()}"

    def is_of(self, secret: str) -> bool:
        """Takes as long for a wrong secret as for a nearly right one."""
        return hmac.compare_digest(self.digest, _digest(self.salt, secret))


class NewToken(NamedTuple):
    """A token that was made just now. The token itself is kept nowhere."""

    token: str
    token_id: str
    kept: KeptSecret


def new_token() -> NewToken:
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return NewToken(f"{_PREFIX}_{token_id}_{secret}", token_id, KeptSecret.of(secret))


def parts(token: str) -> tuple[str, str]:
    """The id and the secret of a token; both empty where it is none."""
    if len(token) > _LONGEST_TOKEN:
        return "", ""
    prefix, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if prefix == _PREFIX and secret else ("", "")


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode("utf-8", "replace")).digest()
