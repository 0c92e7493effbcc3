"""A command's flags: each also a variable, flags before variables before defaults. Passwords are never repeated."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NoReturn

_TRUTHS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("", "0", "false", "no", "off"), False
)

STORES: Final = """\
Stores:
  sqlite:///relative.db or sqlite:////absolute.db
  postgresql://user@host:5432/database?schema=factstr
      Ours are the parameters schema (default factstr) and listen=off, for a transaction pooler in between. Everything
      else goes to libpq, which takes several hosts with commas between them, and the password from PGPASSWORD or a
      passfile.
"""


class Failure(Exception):
    """What was asked for did not come about: one line for people."""


class Flags:
    """The flags of one command."""

    def __init__(
        self, name: str, environment: Mapping[str, str], *, usage: str, description: str, examples: str
    ) -> None:
        self._environment = environment
        self._name = name
        self._required: list[str] = []
        self._parser = argparse.ArgumentParser(
            prog=name,
            usage=usage,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def version(self, text: str) -> None:
        self._parser.add_argument("--version", action="version", version=text)

    def text(self, flag: str, placeholder: str, meaning: str, default: str | None = None) -> None:
        self._parser.add_argument(
            flag, metavar=placeholder, default=self.variable(flag) or default, help=meaning
        )

    def required_text(self, flag: str, placeholder: str, meaning: str) -> None:
        self._required.append(flag)
        self.text(flag, placeholder, meaning)

    def path(self, flag: str, meaning: str) -> None:
        self.text(flag, "FILE", meaning)

    def choice(self, flag: str, choices: Sequence[str], default: str, meaning: str) -> None:
        value = self.variable(flag) or default
        if value not in choices:
            self.refuse(f"{variable_of(flag)}={value}: write one of {', '.join(choices)}")
        self._parser.add_argument(flag, choices=choices, default=value, help=f"{meaning} (default {default})")

    def number(self, flag: str, default: int, meaning: str) -> None:
        """Of at least 1."""
        value = self.variable(flag) or str(default)
        self._parser.add_argument(
            flag, metavar="N", type=_number, default=value, help=f"{meaning} (default {default})"
        )

    def texts(self, flag: str, placeholder: str, meaning: str) -> None:
        """May be given several times."""
        self._parser.add_argument(flag, metavar=placeholder, action="append", help=meaning)

    def switch(self, flag: str, meaning: str) -> None:
        text = self.variable(flag).lower()
        if text not in _TRUTHS:
            self.refuse(f"{variable_of(flag)}={text}: write 1, true, yes or on, or 0, false, no or off")
        self._parser.add_argument(flag, action="store_true", default=_TRUTHS[text], help=meaning)

    def seconds(self, flag: str, default: str | None, meaning: str) -> None:
        meaning += f" (default {default or 'never'})"
        value = self.variable(flag) or default
        self._parser.add_argument(flag, metavar="SECONDS", type=_seconds, default=value, help=meaning)

    def variable(self, flag: str) -> str:
        return self._environment.get(variable_of(flag), "")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Ends the process where they make no sense, or ask for help."""
        given, unknown = self._parser.parse_known_args(words)
        if unknown:
            # Imports psycopg, which takes longer than a health probe without it.
            from factstr_server.stores.postgres.location import shown_url  # noqa: PLC0415

            self.refuse(f"unknown: {' '.join(map(shown_url, unknown))}; see {self._name} --help")
        for flag in self._required:
            if not getattr(given, flag.strip("-").replace("-", "_")):
                self.refuse(f"{flag} is missing (or {variable_of(flag)}); see {self._name} --help")
        return given

    def refuse(self, problem: str) -> NoReturn:
        """Wrong usage: ends the process with code 2."""
        self._parser.error(problem)


def variable_of(flag: str) -> str:
    return "FACTSTR_" + flag.strip("-").replace("-", "_").upper()


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _seconds(text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return timedelta(seconds=seconds)
