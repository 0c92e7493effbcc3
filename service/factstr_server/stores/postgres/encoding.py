"""A decided group as the parameters of its INSERT: arrays, one element a fact."""

from typing import NamedTuple

from factstr_server.stores.deciding import GroupDecision
from factstr_server.stores.framing import framed_facts
from factstr_server.stores.postgres.binary import (
    LEXEME_END,
    ByteaArray,
    IntArray,
    JsonArray,
    TextArray,
    TsvectorArray,
    byteas,
    ints,
    jsons,
    nullable_jsons,
    texts,
    tsvector,
    tsvectors,
)
from factstr_server.stores.postgres.lookup import block_term, era_prefix


class Rows(NamedTuple):
    """Columns of `records`, and the framing of the last row."""

    event_types: TextArray
    metadata: JsonArray
    payloads: JsonArray
    framings: ByteaArray
    opening_bytes: IntArray
    payload_bytes: IntArray
    terms: TsvectorArray
    last_framing: bytes


def encoded_rows(decision: GroupDecision) -> Rows:
    event_types: list[bytes] = []
    metadata: list[bytes | None] = []
    payloads: list[bytes] = []
    framings: list[bytes] = []
    opening_bytes: list[int] = []
    payload_bytes: list[int] = []
    terms: list[bytes] = []
    for number, (event, prefix, opening) in enumerate(
        zip(*framed_facts(decision), strict=True), decision.accepted.base + 1
    ):
        event_type, body, payload_size, metadata_text, _ = event
        event_types.append(event_type.encode())
        metadata.append(None if metadata_text is None else metadata_text.encode())
        payloads.append(body[-payload_size:])
        framings.append(b"%b%b%b" % (opening, prefix, body[:-payload_size]))
        opening_bytes.append(len(opening))
        payload_bytes.append(payload_size)
        terms.append(indexed_terms(event.terms, number))
    return Rows(
        texts(event_types),
        nullable_jsons(metadata),
        jsons(payloads),
        byteas(framings),
        ints(opening_bytes),
        ints(payload_bytes),
        tsvectors(terms),
        framings[-1],
    )


def indexed_terms(terms: str, number: int) -> bytes:
    """A fact's terms as a `tsvector`: each under its fact's era, and the term of its block."""
    era = era_prefix(number)
    lexemes = f"{era}{terms.replace(' ', LEXEME_END + era)}{LEXEME_END}{era}{block_term(number)}{LEXEME_END}"
    return tsvector(terms.count(" ") + 2, lexemes)
