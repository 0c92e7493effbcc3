"""Owns what is said of an argument that cannot be meant: its name, what was given, and what would be right."""

LARGEST_UINT64 = 2**64 - 1


def wrong_type(name: str, value: object, right: str) -> TypeError:
    """Return the error for an argument of a wrong type; `right` says what it must be."""
    return TypeError(f"{name} is {value!r:.64} (a {type(value).__name__}); it must be {right}")


def checked_number(name: str, value: int | None) -> int | None:
    """Return the number. Raises TypeError when it is none, ValueError when the wire cannot carry it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, "an int or None")
    if not 0 <= value <= LARGEST_UINT64:
        raise ValueError(f"{name} is {value}; it must be from 0 to 2^64 - 1")
    return value
