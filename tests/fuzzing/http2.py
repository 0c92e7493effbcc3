"""What no HTTP/2 client would send: bytes for a socket, made from a source of chance."""

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

UNHEARD_TYPE: Final = "raw"
"""Of facts in appends whose answers nobody reads."""

_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """`length` is what it says of itself, where that is not the truth."""
    said = len(payload) if length is None else length
    return (
        said.to_bytes(3, "big")
        + bytes((kind & 0xFF, flags & 0xFF))
        + struct.pack(">I", stream % 2**32)
        + payload
    )


class Frame(NamedTuple):
    """As it was received."""

    kind: int
    stream: int
    payload: bytes


def frames(received: bytes) -> Iterator[Frame]:
    """Whole ones."""
    while len(received) >= 9 and len(received) >= (end := 9 + int.from_bytes(received[:3], "big")):
        yield Frame(received[3], int.from_bytes(received[5:9], "big"), received[9:end])
        received = received[end:]


def headers(path: bytes, *others: tuple[bytes, bytes]) -> bytes:
    """A header block of a gRPC call: every header literal and without an index."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *others,
    )
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields)


def _literal(text: bytes) -> bytes:
    """HPACK's string: its length in seven bits, and then in as many more as it takes."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length -= 127
    prefix = bytearray((127,))
    while length >= 128:
        prefix.append(length % 128 + 128)
        length //= 128
    return bytes((*prefix, length)) + text


def message(body: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """GRPC's frame of one message."""
    return bytes((compressed,)) + struct.pack(">I", len(body) if length is None else length) + body


READS: Final = tuple(
    f"/factstr.v1.{name}".encode()
    for name in (
        *("EventStoreService/Query", "EventStoreService/StreamAll", "EventStoreService/StreamTo"),
        *("ServerService/GetServerInfo", "DurableStreamService/ListDurableStreams", "Nothing/Known"),
    )
)
APPEND: Final = b"/factstr.v1.EventStoreService/Append"

_UNHEARD: Final = pb.AppendRequest(
    events=[event_pb2.NewEvent(event_type=UNHEARD_TYPE, payload='{"a": 1}')]
).SerializeToString()

_OPENING: Final = PREFACE + frame(_SETTINGS, 0, 0)


def call(path: bytes, body: bytes, stream: int = 1) -> bytes:
    """Within a connection."""
    return frame(_HEADERS, _END_HEADERS, stream, headers(path)) + frame(_DATA, _END_STREAM, stream, body)


def attack(chance: random.Random) -> bytes:
    """All that one connection sends."""
    return chance.choice(_ATTACKS)(chance)


def _garbage(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 9, 24, 300, 5_000)))


def _another_protocol(chance: random.Random) -> bytes:
    return chance.choice(
        (
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            PREFACE[: chance.randrange(len(PREFACE))],
        )
    )


def _garbage_after_the_preface(chance: random.Random) -> bytes:
    return PREFACE + _garbage(chance)


def _random_frames(chance: random.Random) -> bytes:
    return _OPENING + b"".join(
        frame(
            chance.randrange(12),
            chance.randrange(256),
            chance.choice((0, 1, 2, 3, 2**31 - 1, 2**32 - 1)),
            chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 100))),
        )
        for _ in range(chance.choice((1, 5, 50)))
    )


def _wrong_lengths(chance: random.Random) -> bytes:
    kind, length = chance.randrange(10), chance.choice((0, 1, 7, 16_385, 2**24 - 1))
    return _OPENING + frame(kind, 0, chance.randrange(2), b"\0" * 8, length) + frame(_PING, 0, 0, b"\0" * 8)


def _damaged_call(chance: random.Random) -> bytes:
    sent = bytearray(_OPENING + call(chance.choice(READS), message(b"")))
    for _ in range(chance.randint(1, 10)):
        sent[chance.randrange(len(PREFACE), len(sent))] ^= 1 << chance.randrange(8)
    return bytes(sent[: chance.choice((len(sent), chance.randrange(len(sent))))])


def _hpack_bomb(chance: random.Random) -> bytes:
    """One large header in the dynamic table, and then thousands of references to it."""
    block = headers(chance.choice(READS)) + b"\x40" + _literal(b"x-bomb") + _literal(b"x" * 4_000)
    block += b"\xbe" * 10_000
    return _OPENING + frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, block)


def _endless_headers(chance: random.Random) -> bytes:
    part = b"\0" + _literal(b"x-part") + _literal(b"y" * 1_000)
    continued = frame(_CONTINUATION, 0, 1, part * 10) * chance.choice((1, 5, 50))
    return _OPENING + frame(_HEADERS, 0, 1, headers(chance.choice(READS))) + continued


def _large_headers(chance: random.Random) -> bytes:
    block = headers(chance.choice(READS), (b"x-large", b"z" * chance.choice((9_000, 15_000))))
    return _OPENING + frame(_HEADERS, _END_HEADERS, 1, block) + frame(_DATA, _END_STREAM, 1, message(b""))


def _pings(chance: random.Random) -> bytes:
    return _OPENING + frame(_PING, 0, 0, b"ping1234") * chance.choice((3, 1_000))


def _settings(chance: random.Random) -> bytes:
    one = struct.pack(">HI", chance.choice((1, 2, 3, 4, 5, 6, 99)), chance.choice((0, 1, 2**31, 2**32 - 1)))
    return _OPENING + frame(_SETTINGS, 0, 0, one) * chance.choice((1, 1_000))


def _rapid_resets(chance: random.Random) -> bytes:
    """Few: of each call that is reset before it is answered gRPC itself loses about 2 KB."""
    path, count = chance.choice(READS), chance.choice((1, 20))
    return _OPENING + b"".join(
        call(path, message(b""), stream) + frame(_RST, 0, stream, b"\0\0\0\x08")
        for stream in range(1, 2 * count, 2)
    )


def _half_a_request(chance: random.Random) -> bytes:
    begun = frame(_HEADERS, _END_HEADERS, 1, headers(chance.choice((APPEND, *READS))))
    body = message(_UNHEARD, length=chance.choice((len(_UNHEARD) + 1, 1_000_000, 2**32 - 1)))
    return _OPENING + begun + chance.choice((b"", frame(_DATA, 0, 1, body)))


def _wrong_grpc_frame(chance: random.Random) -> bytes:
    length = chance.choice((0, 1, len(_UNHEARD) - 1, len(_UNHEARD) + 1, 17 * 2**20, 2**32 - 1, None))
    wrong = message(_UNHEARD, compressed=chance.choice((0, 1, 1, 2, 255)), length=length)
    body = chance.choice((wrong, wrong * 3, wrong[:4], b"", wrong + b"\0"))
    return _OPENING + call(chance.choice((APPEND, *READS)), body)


def _wrong_windows(chance: random.Random) -> bytes:
    update = frame(_WINDOW, 0, chance.choice((0, 1)), struct.pack(">I", chance.choice((0, 1, 2**31 - 1))))
    return _OPENING + call(chance.choice(READS), message(b"")) + update * chance.choice((1, 2, 500))


def _frames_of_servers(chance: random.Random) -> bytes:
    return _OPENING + chance.choice(
        (
            frame(_PUSH, _END_HEADERS, 1, b"\0\0\0\x02" + headers(READS[0])),
            frame(_PRIORITY, 0, 1, b"\0\0\0\x01\x10"),
            frame(_GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0"),
            frame(_SETTINGS, _ACK, 0, b"\0\0\0\0\0\0"),
            frame(_DATA, 0, 0, b"x"),
            call(READS[1], message(b""), stream=2),
        )
    )


_ATTACKS: Final[Sequence[Callable[[random.Random], bytes]]] = (
    _garbage,
    _another_protocol,
    _garbage_after_the_preface,
    _random_frames,
    _wrong_lengths,
    _damaged_call,
    _hpack_bomb,
    _endless_headers,
    _large_headers,
    _pings,
    _settings,
    _rapid_resets,
    _half_a_request,
    _wrong_grpc_frame,
    _wrong_windows,
    _frames_of_servers,
)
