"""Owns how the values of flags are read: each returns what was meant, or says what would be right."""

from argparse import ArgumentTypeError
from typing import Final

from google.protobuf import json_format

from factstr.cli.batches import LONGEST_PREFIX
from factstr.durable_stream import AT_HEAD, Start
from factstr.query import EventQuery
from factstr.v1 import event_pb2

_MOST_UNACKNOWLEDGED: Final = 2**32 - 1


def query(text: str) -> EventQuery:
    try:
        return EventQuery.from_proto(json_format.Parse(text, event_pb2.EventQuery()))
    except json_format.ParseError as error:
        example = '{"filters":[{"eventTypes":{"anyOf":["tool-registered"]}}]}'
        raise ArgumentTypeError(f"not an EventQuery such as {example}: {error}") from error


def number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**64):
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 2^64 - 1")
    return int(text)


def positive(text: str) -> int:
    value = number(text)
    if value == 0:
        raise ArgumentTypeError("0 is too few; at least 1 is needed")
    return value


def window(text: str) -> int:
    value = positive(text)
    if value > _MOST_UNACKNOWLEDGED:
        raise ArgumentTypeError(f"{text} is too many; at most {_MOST_UNACKNOWLEDGED} can be asked for")
    return value


def position(text: str) -> int | Start:
    if text == "head":
        return AT_HEAD
    try:
        return number(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(
            f"{text!r} is no position: a sequence number (0 is before the first fact), or head"
        ) from error


def version(text: str) -> int | None:
    return None if text == "none" else number(text)


def shell_command(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError("is empty; it takes a command for the shell, for example 'wc -l'")
    return text


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def prefix(text: str) -> str:
    if not 0 < len(text) <= LONGEST_PREFIX:
        raise ArgumentTypeError(f"{len(text)} characters; it takes 1 to {LONGEST_PREFIX}")
    return text
