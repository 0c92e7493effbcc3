"""Requests may hold only what this server knows: a condition must not be dropped in silence."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, cast

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.validation import invalid_argument

M = TypeVar("M", bound=Message)


class UnknownField(Protocol):
    """What iterating an `UnknownFieldSet` gives; its published types do not say so."""

    @property
    def field_number(self) -> int: ...


def parse_request(kind: type[M], raw: bytes) -> M:
    """The request's message. Raises Refusal: INVALID_ARGUMENT for what is no such message, UNSUPPORTED_FIELD for what
    this server does not know.
    """
    request = parse_message(kind, raw)
    if _discards(request):
        refuse_unknown_fields(kind.FromString(raw))
    return request


def parse_leniently(kind: type[M], raw: bytes) -> tuple[M, bool]:
    """The request's message with all that it holds, and whether some of that is unknown: the caller refuses the parts
    that hold it. Raises Refusal for what is no such message.
    """
    request = parse_message(kind, raw)
    if _discards(request):
        return parse_message(kind, raw), True
    return request, False


def parse_message(kind: type[M], raw: bytes) -> M:
    """The request's message, whatever else it holds. Raises Refusal for what is no such message."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise no_such_message(kind) from None


def no_such_message(kind: type[Message]) -> Refusal:
    return invalid_argument(
        "request",
        f"is not a {kind.DESCRIPTOR.full_name} message in UTF-8; generate the client from this server's proto files",
    )


def _discards(request: Message) -> bool:
    """Discards unknown fields; whether there were any."""
    # Both sizes are of the server's own encoding; the size as sent may differ for reasons that are no fault.
    size = request.ByteSize()
    request.DiscardUnknownFields()
    return request.ByteSize() != size


def refuse_unknown_fields(message: Message) -> None:
    """Raises Refusal for the first field that this server does not know, anywhere in a message."""
    for path, number in _unknown_fields(message, ""):
        raise unknown_field(path, number)


def unknown_field(path: str, number: int) -> Refusal:
    """`path` is that of the message that holds it: empty, or with a dot at its end."""
    return unsupported_field(f"{path}{number}", number, "a field that this server does not know")


def unsupported_field(path: str, number: int, what: str) -> Refusal:
    return Refusal(
        Reason.UNSUPPORTED_FIELD,
        f"{path}: the request holds {what}; leave it out, or use a server that supports it",
        metadata={"path": path, "number": str(number)},
    )


def _unknown_fields(message: Message, path: str) -> Iterator[tuple[str, int]]:
    for unknown in cast("Iterable[UnknownField]", UnknownFieldSet(message)):
        yield path, unknown.field_number
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            continue  # an entry has a key and a value, and never gets more
        if field.is_repeated:
            for index, element in enumerate(value):
                yield from _unknown_fields(element, f"{path}{field.name}[{index}].")
        else:
            yield from _unknown_fields(value, f"{path}{field.name}.")
