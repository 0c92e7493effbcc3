"""Owns what a text looks like on a terminal: how wide it is, what of it is shown, and what is dim."""

import os
import shutil
import sys
import unicodedata
from typing import TextIO


def visible(text: str) -> str:
    """Return a text without anything that a terminal would obey instead of show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else f"\\u{ord(c):04x}" for c in text)


def dim(text: str, stream: TextIO) -> str:
    """Return a text that steps back where the stream is a terminal that may have colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[2m{text}\x1b[0m"


def line_width() -> int | None:
    """Return how many columns a line on stdout may have; None when it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def width_of(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, width: int) -> str:
    """Return a text with spaces up to a width."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """Return a text that takes at most so many columns."""
    if width_of(text) <= width:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width - 1:
            return text[:index] + "…"
    return text


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
