"""The one way in which a call fails, whichever way it reached the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Violation(NamedTuple):
    field: str
    description: str


@dataclass(eq=False)
class Failure(Exception):
    """A refused call. The status code is known over the wire alone."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    expected: int | None = None
    actual: int | None = None
    code: str | None = None

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.violations]
