"""Requests for every RPC that are valid, extreme, or broken, made from a source of chance."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from factstr.v1 import durable_stream_service_pb2, event_pb2, event_store_service_pb2, server_service_pb2

M = TypeVar("M", bound=Message)

Field: TypeAlias = Any
"""A `FieldDescriptor`, of which there are two kinds for type checkers."""

METHODS: Final[Sequence[MethodDescriptor]] = [
    method
    for file in (event_store_service_pb2, durable_stream_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

NAMES: Final = ("orders", "größer", 'a "b" \\', "注文 🧾", "n" * 200)
"""Valid names of durable streams, few enough to meet each other."""

_KEYS: Final = tuple(f"key-{number}" for number in range(50))
_TYPES: Final = ("a", "tool-registered", "größer", "🧾", "t" * 256)

_JSON: Final = (
    *("{}", "[]", "null", "true", "0", "-0", '""', "1e300", "-1e-300", "9" * 100, "0.1000000000000000055"),
    *('{"a": 1}', '{"a": {"b": [1, {"c": null}]}}', '{"a": 1, "a": 2}', '[1, "1", 1.0, [1]]'),
    *('"\\u00e9\\ud83e\\uddfe"', '"e\u0301 \u202e \ufeff \uffff"', '  {"a"  :1}\n', "[" * 63 + "]" * 63),
    '{"a": [' + ", ".join(f'{{"b": {number}}}' for number in range(60)) + "]}",
    "[" + ", ".join(['["x"]'] * 200) + "]",
    "{" + ", ".join(f'"k{number}": {number}' for number in range(2_100)) + "}",
)
"""Texts that are JSON, and within the limits of payloads."""

_NO_JSON: Final = (
    *("", "{", "nul", "NaN", "-Infinity", "1e301", "1e999999999", "9" * 101, "01", "'a'", '{"a":}', "[1,]"),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"a\nb"',
        "\ufeff{}",
        "\x00",
        "[" * 65 + "]" * 65,
        "[" * 20_000,
        '{"a":' * 5_000,
    ),
)

_TEXTS: Final = (
    *(
        "",
        " ",
        "\x00",
        "\n",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufffe",
        "e\u0301",
        "\U0010ffff",
        "../../etc",
    ),
    *("'; DROP TABLE records; --", "%s%n{}", "x" * 257, "🧾" * 128, "x" * 20_000),
)

_NUMBERS: Final = (0, 1, 2, 3, 1_000, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)

_COUNTS: Final = (0, 1, 1, 1, 2, 3, 65)


class Request(NamedTuple):
    """One call: of an `AppendStream` several messages, of all others one."""

    method: MethodDescriptor
    messages: list[bytes]


def extreme(chance: random.Random) -> Request:
    """A message as a client could make it, with values at the ends of their types and of what is valid."""
    method = chance.choice(METHODS)
    count = chance.choice((1, 2, 5)) if method.client_streaming else 1
    return Request(method, [_message(chance, method).SerializeToString() for _ in range(count)])


def broken(chance: random.Random) -> Request:
    """The bytes of valid messages, of this RPC or of others, damaged."""
    method, messages = extreme(chance)
    damage = chance.choice(_DAMAGES)
    return Request(
        method, [damage(chance, message, _message(chance).SerializeToString()) for message in messages]
    )


def _message(chance: random.Random, method: MethodDescriptor | None = None) -> Message:
    """The request of an RPC, of any where none is named."""
    return filled(chance, GetMessageClass((method or chance.choice(METHODS)).input_type))


def filled(chance: random.Random, kind: type[M]) -> M:
    """A message of any kind."""
    message = kind()
    _Filling(chance).fill(message)
    return message


class _Filling:
    """Fills one message, field by field, with so many values at most that making it takes no long time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._room = 200

    def fill(self, message: Message) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._room <= 0 or self._chance.random() < 0.25:
                continue
            if field.message_type and field.message_type.GetOptions().map_entry:
                entries = getattr(message, field.name)
                for _ in range(self._count()):
                    entries[self._chance.choice(_TEXTS)] = self._chance.choice(_TEXTS)
            elif field.is_repeated:
                self._fill_list(getattr(message, field.name), field)
            elif field.message_type:
                # Present, even where nothing is filled in.
                getattr(message, field.name).SetInParent()
                self.fill(getattr(message, field.name))
            else:
                setattr(message, field.name, self._value(field))

    def _fill_list(self, values: Any, field: Field) -> None:
        for _ in range(self._count()):
            if field.message_type:
                self.fill(values.add())
            else:
                values.append(self._value(field))
        if self._chance.random() < 0.01:
            # Beyond every limit of how many there may be; more of them where they are small.
            first = list(values[:1])
            size = sum(each.ByteSize() if isinstance(each, Message) else len(each) for each in first)
            values.extend(first * min(10_001, 1_000_000 // (size + 1)))

    def _count(self) -> int:
        return self._chance.choice(_COUNTS) if self._room > 0 else 0

    def _value(self, field: Field) -> Any:
        self._room -= 1
        chance = self._chance
        match field.type:
            case FieldDescriptor.TYPE_BOOL:
                return chance.random() < 0.5
            case FieldDescriptor.TYPE_ENUM:
                return chance.choice((0, 1, 2, 2, 3, -1, 2**31 - 1))
            case FieldDescriptor.TYPE_STRING:
                return _text(chance, field)
            case FieldDescriptor.TYPE_UINT32:
                return chance.choice([number for number in _NUMBERS if number < 2**32])
            case FieldDescriptor.TYPE_INT32:
                return chance.choice((0, 1, -1, 999_999_999, 10**9, 2**31 - 1, -(2**31)))
            case FieldDescriptor.TYPE_INT64:
                return chance.choice((0, 1, -1, 315_576_000_000, 2**62, 2**63 - 1, -(2**63)))
            case FieldDescriptor.TYPE_UINT64:
                return chance.choice(_NUMBERS)
        raise AssertionError(
            f"{field.full_name} is of a type that no request had; name its extreme values here"
        )


def _text(chance: random.Random, field: Field) -> str:
    """What is valid there, most of the time."""
    if chance.random() < 0.1:
        return chance.choice(_TEXTS)
    if field.name == "payload" or field.containing_type == event_pb2.PayloadPredicates.DESCRIPTOR:
        return chance.choice(_JSON if chance.random() < 0.9 else _NO_JSON)
    if field.name == "durable_stream":
        return chance.choice(NAMES)
    if field.name == "idempotency_key":
        return chance.choice(("", *_KEYS))
    return chance.choice(_TYPES)


def _flipped(chance: random.Random, message: bytes, _other: bytes) -> bytes:
    changed = bytearray(message or b"\0")
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, message: bytes, _: bytes) -> bytes:
    return message[: chance.randrange(len(message) + 1)]


def _spliced(chance: random.Random, message: bytes, other: bytes) -> bytes:
    return message[: chance.randrange(len(message) + 1)] + other[chance.randrange(len(other) + 1) :]


def _inserted(chance: random.Random, message: bytes, other: bytes) -> bytes:
    place = chance.randrange(len(message) + 1)
    inserted = chance.choice(
        (b"\xff" * 10, b"\0", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 200, chance.randbytes(40), other)
    )
    return message[:place] + inserted + message[place:]


def _repeated(chance: random.Random, message: bytes, _: bytes) -> bytes:
    """Up to a megabyte."""
    return message * min(chance.choice((2, 10, 1_000)), 1 + 2**20 // (len(message) + 1))


def _replaced(chance: random.Random, message: bytes, _: bytes) -> bytes:
    return chance.randbytes(chance.choice((1, 10, len(message) + 1)))


_DAMAGES: Final[Sequence[Callable[[random.Random, bytes, bytes], bytes]]] = (
    _flipped,
    _flipped,
    _cut,
    _spliced,
    _inserted,
    _repeated,
    _replaced,
)
