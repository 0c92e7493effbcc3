"""Sequences of calls as bytes, and how a fuzzer changes them: in whole calls and single fields, not in bytes alone."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from random import Random
from typing import Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tests.fuzzing.requests import METHODS, extreme, filled

BETWEEN_CALLS: Final = b"\xfb\xfc\xfd\xfe"
BETWEEN_MESSAGES: Final = b"\xfd\xfc\xfb"
"""Of an AppendStream, which has several."""

NOBODY_KNOWS: Final = b"\x98\x06\x01"
"""A field of number 99, at the end of a message."""


def calls_of(history: bytes) -> Iterator[tuple[MethodDescriptor, list[bytes]]]:
    for call in history.split(BETWEEN_CALLS):
        if call:
            method = METHODS[call[0] % len(METHODS)]
            messages = call[1:].split(BETWEEN_MESSAGES)
            yield method, messages if method.client_streaming else messages[:1]


def history_of(calls: Sequence[tuple[MethodDescriptor, Sequence[bytes]]]) -> bytes:
    return BETWEEN_CALLS.join(
        bytes((METHODS.index(method),)) + BETWEEN_MESSAGES.join(messages) for method, messages in calls
    )


def changed(history: bytes, chance: Random) -> bytes:
    """The same calls but for one that is new, gone, there again, or says something else in one of its fields."""
    calls: list[tuple[MethodDescriptor, list[bytes]]] = list(calls_of(history))
    place = chance.randrange(len(calls)) if calls else 0
    match chance.randrange(4) if calls else 0:
        case 0:
            calls.insert(place, extreme(chance))
        case 1:
            del calls[place]
        case 2:
            calls.insert(chance.randint(0, len(calls)), calls[place])
        case _:
            method, messages = calls[place]
            index = chance.randrange(len(messages))
            message = GetMessageClass(method.input_type)()
            with suppress(DecodeError):
                message.ParseFromString(messages[index])
                change(message, chance)
                messages[index] = message.SerializeToString()
    return history_of(calls)


def change(message: Message, chance: Random) -> None:
    """Says something else in one of its fields, or of those of a message in it."""
    chosen = chance.choice((message, *messages_in(message)))
    if chosen is not message:
        change(chosen, chance)
        return
    field = chance.choice((None, *message.DESCRIPTOR.fields))
    if field is None:
        message.MergeFromString(NOBODY_KNOWS)
        return
    message.ClearField(field.name)
    other = filled(chance, type(message))
    for untouched in message.DESCRIPTOR.fields:
        if untouched is not field:
            other.ClearField(untouched.name)
    message.MergeFrom(other)


def messages_in(message: Message) -> Iterator[Message]:
    """Those that are its fields, or their elements; entries of maps are none."""
    return chain.from_iterable(
        value if field.is_repeated else (value,)
        for field, value in message.ListFields()
        if field.message_type and not field.message_type.GetOptions().map_entry
    )
