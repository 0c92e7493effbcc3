"""Owns what is said of an argument that cannot be meant: its name, what was given, and what would be right."""

import math


def wrong_type(name: str, value: object, right: str) -> TypeError:
    """Return the error for an argument of a wrong type; `right` says what it must be."""
    return TypeError(f"{name} is {value!r:.64} (a {type(value).__name__}); it must be {right}")


def checked_int(name: str, value: int, *, bits: int = 64, right: str = "an int") -> int:
    """Return the number. Raises TypeError when it is none, ValueError when the wire cannot carry it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, right)
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name} is {value}; it must be from 0 to 2^{bits} - 1")
    return value


def checked_number(name: str, value: int | None) -> int | None:
    """Return the number or None, as `checked_int` does."""
    return None if value is None else checked_int(name, value, right="an int or None")


def checked_seconds(name: str, value: float | None) -> float | None:
    """Return the time or None. Raises TypeError when it is no number, ValueError when it is none that can pass."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, value, "a number of seconds or None")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; it must be more than 0 seconds and finite, or None")
    return value


def checked_text(name: str, value: str) -> str:
    """Return the text. Raises TypeError when it is none; its limits are checked by the server."""
    if not isinstance(value, str):
        raise wrong_type(name, value, "a str")
    return value
