"""Facts as rows of PostgreSQL's binary COPY, made with a few steps of Python a fact."""

import asyncio
from collections.abc import Sequence
from struct import Struct
from typing import Final, LiteralString

from factstr_server.stores.copy_protocol import CopiedFact
from factstr_server.stores.postgres.encoding import indexed_terms

COLUMNS: Final[LiteralString] = (
    "sequence_number, occurred_at, opening_bytes, payload_bytes, event_type, metadata, payload, framing, terms"
)

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NUMBERS: Final = Struct("!hiqiqiiii").pack
"""How many columns a row has, and those of one length, each after its length."""
_LENGTH: Final = Struct("!i").pack
_NULL: Final = _LENGTH(-1)

_MICROSECONDS_TO_2000: Final = 946_684_800_000_000
"""PostgreSQL's times begin there."""


async def copied_rows(facts: Sequence[CopiedFact], terms: Sequence[str]) -> bytes:
    """In a thread, so that the connections go on meanwhile."""
    return await asyncio.to_thread(_rows, facts, terms)


def _rows(facts: Sequence[CopiedFact], terms: Sequence[str]) -> bytes:
    parts = [_HEADER]
    for fact, fact_terms in zip(facts, terms, strict=True):
        number, occurred_at, event_type, metadata_text, payload_size, record, opening, _ = fact
        parts.append(
            _NUMBERS(9, 8, number, 8, occurred_at - _MICROSECONDS_TO_2000, 4, len(opening), 4, payload_size)
        )
        parts += _text(event_type)
        parts += (_NULL,) if metadata_text is None else _text(metadata_text)
        parts += (_LENGTH(payload_size), record[-payload_size:])
        framing_size = len(opening) + len(record) - payload_size
        parts += (_LENGTH(framing_size), opening, record[:-payload_size])
        encoded_terms = indexed_terms(fact_terms, number)
        parts += (_LENGTH(len(encoded_terms)), encoded_terms)
    parts.append(_TRAILER)
    return b"".join(parts)


def _text(text: str) -> tuple[bytes, bytes]:
    encoded = text.encode()
    return _LENGTH(len(encoded)), encoded
