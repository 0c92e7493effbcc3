"""Owns how a failure is put into words for the person at the terminal."""

import re
from collections.abc import Sequence
from typing import Final

from factstr.errors import FactstrError

_EVENT_PATH: Final = re.compile(r"events\[(\d+)\]\.?(.*)", re.DOTALL)


class CommandFailed(Exception):
    """The command cannot go on; its text says what was wrong, where, and what would be right."""


def in_words(error: FactstrError) -> str:
    """Return the message, and below it the fields that it does not name itself."""
    more = [f"  {v.field}: {v.description}" for v in error.field_violations if v.field not in error.message]
    return "\n".join([error.message, *more])


def in_lines(error: FactstrError, source: str, lines: Sequence[int]) -> str:
    """Return what is wrong with which line of a file, for an append of the events on those lines."""
    wrong = []
    for violation in error.field_violations:
        path = _EVENT_PATH.match(violation.field)
        if path and int(path[1]) < len(lines):
            place = f"{source}:{lines[int(path[1])]}"
            wrong.append(
                f"{place}: {path[2]}: {violation.description}"
                if path[2]
                else f"{place}: {violation.description}"
            )
    if wrong:
        return "\n".join(wrong)
    where = f"{lines[0]}" if len(lines) == 1 else f"{lines[0]}-{lines[-1]}"
    return f"{source}:{where}: {in_words(error)}"
