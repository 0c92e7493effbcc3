"""Whether what came is what a case expects: objects by the members that it names, everything else exactly."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.clients.cases import Length, Match


def differences(expected: Any, actual: Any, where: str = "") -> Iterator[str]:
    """One line for each."""
    match expected:
        case dict() if isinstance(actual, dict):
            for key, value in expected.items():
                if key in actual:
                    yield from differences(value, actual[key], f"{where}.{key}")
                else:
                    yield f"{where}.{key} is missing in {_short(actual)}"
        case list() if isinstance(actual, list) and len(expected) == len(actual):
            for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
                yield from differences(one, other, f"{where}[{index}]")
        case Match(pattern) if isinstance(actual, str) and re.fullmatch(pattern, actual, re.DOTALL):
            pass
        case Length(number) if isinstance(actual, list | str) and len(actual) == number:
            pass
        case _ if not _same(expected, actual):
            yield f"{where or 'the answer'} is {_short(actual)}, not {_short(expected)}"


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | Decimal):
        return Decimal(repr(expected)) == actual
    return type(expected) is type(actual) and bool(expected == actual)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 2_000 else f"{text[:1_000]} … {text[-1_000:]}"
