"""What valid names and metadata are, and the list of what is wrong with a request."""

import re
from collections.abc import Mapping
from typing import Final

from factstr_server.contract.errors import FieldViolation, Reason, Refusal, excerpt
from factstr_server.contract.limits import (
    MAX_DURABLE_STREAM_CHARACTERS,
    MAX_EVENT_TYPE_CHARACTERS,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_METADATA_KEY_CHARACTERS,
    MAX_METADATA_VALUE_BYTES,
)

MAX_REPORTED_VIOLATIONS: Final = 8
"""An error names at most this many violations and counts the rest."""

# Unicode category Cc.
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Violations:
    """What is wrong with a request, in the order found; the first one gives the reason."""

    def __init__(self) -> None:
        self._reason = Reason.INVALID_ARGUMENT
        self._reported: list[FieldViolation] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, reason: Reason, field: str, description: str) -> None:
        if not self._count:
            self._reason = reason
        self._count += 1
        if len(self._reported) < MAX_REPORTED_VIOLATIONS:
            self._reported.append(FieldViolation(field, description))

    def refuse_if_any(self) -> None:
        """Raises the refusal that names the violations; does nothing where there are none."""
        if not self._count:
            return
        first = self._reported[0]
        message = f"{first.field}: {first.description}"
        if self._count > 1:
            message += f" (and {self._count - 1} more)"
        more = self._count - len(self._reported)
        raise Refusal(
            self._reason,
            message,
            metadata={"more_violations": str(more)} if more else None,
            violations=self._reported,
        )


def invalid_argument(field: str, description: str) -> Refusal:
    """The refusal of one field that has no reason of its own."""
    return Refusal(
        Reason.INVALID_ARGUMENT,
        f"{field}: {description}",
        violations=[FieldViolation(field, description)],
    )


def event_type_problem(event_type: str) -> str | None:
    return _name_problem(event_type, MAX_EVENT_TYPE_CHARACTERS)


def idempotency_key_problem(key: str) -> str | None:
    return _name_problem(key, MAX_IDEMPOTENCY_KEY_CHARACTERS)


def durable_stream_problem(name: str) -> str | None:
    return _name_problem(name, MAX_DURABLE_STREAM_CHARACTERS)


def metadata_problems(metadata: Mapping[str, str], path: str) -> list[tuple[str, str]]:
    """Pairs of field path and what is wrong with an entry there."""
    problems = []
    for key, value in metadata.items():
        entry = f'{path}["{excerpt(key)}"]'
        if not 1 <= len(key) <= MAX_METADATA_KEY_CHARACTERS:
            problems.append(
                (entry, f"has a key of {len(key)} characters; 1 to {MAX_METADATA_KEY_CHARACTERS}")
            )
        size = len(value.encode())
        if size > MAX_METADATA_VALUE_BYTES:
            problems.append((entry, f"has a value of {size} bytes; at most {MAX_METADATA_VALUE_BYTES}"))
        if "\0" in key or "\0" in value:
            problems.append((entry, "holds U+0000; no store can keep it as text, leave it out"))
    return problems


def _name_problem(name: str, max_characters: int) -> str | None:
    if not name:
        return f"is empty; 1 to {max_characters} characters"
    if len(name) > max_characters:
        return f"has {len(name)} characters; at most {max_characters}"
    if found := _CONTROL_CHARACTER.search(name):
        return (
            f"holds the control character U+{ord(found[0]):04X} at position {found.start()}; "
            "use printable characters"
        )
    return None
