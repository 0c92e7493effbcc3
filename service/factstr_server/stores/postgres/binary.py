"""Arrays in PostgreSQL's binary format, made with a few steps of Python a group instead of a few an element."""

from collections.abc import Iterable, Sequence
from itertools import chain
from struct import Struct
from typing import Final

from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_LENGTH: Final = Struct("!i").pack
_HEADER: Final = Struct("!iiIii").pack
_NULL: Final = _LENGTH(-1)
_TEXT, _JSON, _BYTEA, _INT4, _TSVECTOR = 25, 114, 17, 23, 3614

LEXEME_END: Final = "\0\0\0"
"""A zero, and the number of positions: none."""


class _Array(bytes):
    """An array, encoded."""

    __slots__ = ()


class TextArray(_Array):
    __slots__ = ()


class JsonArray(_Array):
    __slots__ = ()


class ByteaArray(_Array):
    __slots__ = ()


class IntArray(_Array):
    __slots__ = ()


class TsvectorArray(_Array):
    __slots__ = ()


_ARRAY_OIDS: Final[dict[type[_Array], int]] = {
    TextArray: 1009,
    JsonArray: 199,
    ByteaArray: 1001,
    IntArray: 1007,
    TsvectorArray: 3643,
}


def texts(values: Sequence[bytes]) -> TextArray:
    return TextArray(_array(_TEXT, values))


def jsons(values: Sequence[bytes]) -> JsonArray:
    return JsonArray(_array(_JSON, values))


def nullable_jsons(values: Sequence[bytes | None]) -> JsonArray:
    elements = (_NULL if value is None else _LENGTH(len(value)) + value for value in values)
    return JsonArray(_HEADER(1, 1, _JSON, len(values), 1) + b"".join(elements))


def byteas(values: Sequence[bytes]) -> ByteaArray:
    return ByteaArray(_array(_BYTEA, values))


def ints(values: Sequence[int]) -> IntArray:
    return IntArray(_array(_INT4, list(map(_LENGTH, values))))


def tsvectors(values: Sequence[bytes]) -> TsvectorArray:
    return TsvectorArray(_array(_TSVECTOR, values))


def tsvector(count: int, lexemes: str) -> bytes:
    """Of so many lexemes, each followed by `LEXEME_END`."""
    return _LENGTH(count) + lexemes.encode()


def register_arrays(context: AdaptContext) -> None:
    """Teaches a connection to send them."""
    for kind, oid in _ARRAY_OIDS.items():
        context.adapters.register_dumper(kind, _dumper(oid))


def _array(oid: int, elements: Sequence[bytes]) -> bytes:
    if not elements:
        return _HEADER(0, 0, oid, 0, 1)[:12]
    lengths: Iterable[bytes] = map(_LENGTH, map(len, elements))
    return _HEADER(1, 0, oid, len(elements), 1) + b"".join(
        chain.from_iterable(zip(lengths, elements, strict=True))
    )


def _dumper(array_oid: int) -> type[Dumper]:
    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = array_oid

        def dump(self, obj: Buffer) -> Buffer:
            return obj

    return ArrayDumper
