"""Acknowledgement tokens: which batch of which durable stream was delivered under which lease.

A token is the lease's epoch, the batch's last sequence number, and a keyed check over both and the stream's name. The
key is the store's own, so that every server on the store takes the token, and nobody can make one up. Whether the epoch
is the current one is the store's question, not the token's.
"""

from base64 import b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final, NamedTuple

from factstr_server.contract.errors import Refusal
from factstr_server.contract.validation import invalid_argument

KEY_BYTES: Final = 32

_NUMBERS: Final = Struct(">QQ")
_CHECK_BYTES: Final = 17
"""Together with the numbers a multiple of three, so that the text needs no padding."""


class Acknowledgement(NamedTuple):
    """What a token says: this batch and all before it, delivered under this lease."""

    lease_epoch: int
    sequence_number: int


class TokenMint:
    """Makes and reads the tokens of one durable stream."""

    def __init__(self, key: bytes, durable_stream: str) -> None:
        name = blake2b(durable_stream.encode(), digest_size=32).digest()
        self._keyed = blake2b(name, key=key, digest_size=_CHECK_BYTES)

    def token(self, lease_epoch: int, sequence_number: int) -> str:
        numbers = _NUMBERS.pack(lease_epoch, sequence_number)
        return urlsafe_b64encode(numbers + self._check(numbers)).decode()

    def read(self, token: str) -> Acknowledgement:
        """Raises Refusal for what is no token of this stream."""
        try:
            decoded = b64decode(token, altchars=b"-_", validate=True)
            numbers: tuple[int, int] = _NUMBERS.unpack_from(decoded)
        except (ValueError, StructError):
            raise _no_token() from None
        if not compare_digest(self.token(*numbers), token):
            raise _no_token()
        return Acknowledgement(*numbers)

    def _check(self, numbers: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(numbers)
        return keyed.digest()


def _no_token() -> Refusal:
    return invalid_argument(
        "acknowledgement_token",
        "is no token of this durable stream; send the token of a delivered batch unchanged, with its stream's name",
    )
