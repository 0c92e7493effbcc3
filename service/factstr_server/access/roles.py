"""The roles, and which one each RPC takes."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a caller may do. `reader` is part of every other role; `admin` is all of them."""

    READER = "reader"
    WRITER = "writer"
    CONSUMER = "consumer"
    ADMIN = "admin"


ALLOWS: Final[Mapping[Role, str]] = {
    Role.READER: "queries, live streams, and what the server is",
    Role.WRITER: "what a reader may, and appends",
    Role.CONSUMER: "what a reader may, and consuming durable streams",
    Role.ADMIN: "everything",
}
"""For people."""

_INCLUDES: Final[Mapping[Role, frozenset[Role]]] = {
    Role.READER: frozenset({Role.READER}),
    Role.WRITER: frozenset({Role.READER, Role.WRITER}),
    Role.CONSUMER: frozenset({Role.READER, Role.CONSUMER}),
    Role.ADMIN: frozenset(Role),
}

REQUIRED_ROLES: Final[Mapping[str, Role]] = {
    "factstr.v1.EventStoreService.Append": Role.WRITER,
    "factstr.v1.EventStoreService.AppendIf": Role.WRITER,
    "factstr.v1.EventStoreService.AppendStream": Role.WRITER,
    "factstr.v1.EventStoreService.Query": Role.READER,
    "factstr.v1.EventStoreService.StreamAll": Role.READER,
    "factstr.v1.EventStoreService.StreamTo": Role.READER,
    "factstr.v1.EventStoreService.StreamAllDurable": Role.CONSUMER,
    "factstr.v1.EventStoreService.StreamToDurable": Role.CONSUMER,
    "factstr.v1.EventStoreService.AcknowledgeDurable": Role.CONSUMER,
    "factstr.v1.DurableStreamService.ListDurableStreams": Role.CONSUMER,
    "factstr.v1.DurableStreamService.GetDurableStream": Role.CONSUMER,
    # Moves a cursor back, or away from facts that nobody has seen.
    "factstr.v1.DurableStreamService.ResetDurableStream": Role.ADMIN,
    "factstr.v1.DurableStreamService.DeleteDurableStream": Role.ADMIN,
    # Whoever appends and then waits for a projection has no need to consume anything.
    "factstr.v1.DurableStreamService.AwaitDurableStream": Role.READER,
    "factstr.v1.ServerService.GetServerInfo": Role.READER,
    "factstr.v1.ServerService.GetSequenceNumberAt": Role.READER,
}
"""By the full name of the RPC. The server does not start with an RPC that is not here."""


def allowed(roles: Iterable[Role]) -> frozenset[Role]:
    """The roles, with those that are part of them."""
    return frozenset().union(*(_INCLUDES[role] for role in roles))


def role_matrix() -> str:
    """Which role may call what, as a Markdown table."""
    lines = [
        f"| RPC | {' | '.join(Role)} |",
        f"|---|{'---|' * len(Role)}",
    ]
    for rpc, required in REQUIRED_ROLES.items():
        service, _, name = rpc.removeprefix("factstr.v1.").partition(".")
        marks = ("yes" if required in _INCLUDES[role] else "" for role in Role)
        lines.append(f"| {service}/{name} | {' | '.join(marks)} |")
    return "\n".join(lines)
