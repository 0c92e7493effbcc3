"""Owns what every command can be told, before its name or after it: a flag, or the FACTSTR_* variable in its place."""

import os
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from factstr.connection import DEFAULT_TARGET, DEFAULT_TIMEOUT, checked_target

_FORMATS: Final = ("auto", "table", "ndjson")
_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def add_settings(parser: ArgumentParser) -> None:
    """Add the flags; those that are not given are left to `fill_in`."""
    group = parser.add_argument_group("connection and output (each also as FACTSTR_<FLAG>)")
    for setting in _SETTINGS:
        if setting.read is _switch:
            group.add_argument(setting.flag, action="store_true", default=SUPPRESS, help=setting.help)
        else:
            group.add_argument(
                setting.flag, type=setting.read, default=SUPPRESS, metavar=setting.metavar, help=setting.help
            )


def fill_in(options: Namespace) -> None:
    """Take what no flag has said from the environment, or else by default; an empty variable says nothing.

    Raises SystemExit(2) for a variable with a wrong value.
    """
    for setting in _SETTINGS:
        if hasattr(options, setting.name):
            continue
        text = os.environ.get(setting.variable)
        try:
            setattr(options, setting.name, setting.read(text) if text else setting.default)
        except ArgumentTypeError as error:
            options.wrong_usage(f"{setting.variable}: {error}")


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(_SWITCH)}")
    return _SWITCH[text.lower()]


def _format(text: str) -> str:
    if text not in _FORMATS:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(_FORMATS)}")
    return text


def _target(text: str) -> str:
    try:
        return checked_target(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


@dataclass(frozen=True, slots=True)
class _Setting:
    """A flag, how its text is read (which raises ArgumentTypeError), and what holds without it."""

    flag: str
    metavar: str | None
    help: str
    read: Callable[[str], object] = str
    default: object = None

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        return f"FACTSTR_{self.name.upper()}"


_SETTINGS: Final = (
    _Setting(
        "--target", "ADDR", f"host:port or unix:/path (default {DEFAULT_TARGET})", _target, DEFAULT_TARGET
    ),
    _Setting("--timeout", "SECONDS", "for each call (default 30)", _positive_seconds, DEFAULT_TIMEOUT),
    _Setting("--tls", None, "use TLS, trusting the well-known authorities", _switch, False),
    _Setting("--tls-ca", "FILE", "trust these authorities instead (PEM); implies --tls"),
    _Setting("--tls-client-cert", "FILE", "show this certificate (PEM); implies --tls"),
    _Setting("--tls-client-key", "FILE", "the key of --tls-client-cert (PEM)"),
    _Setting("--tls-server-name", "NAME", "the name in the server's certificate; implies --tls"),
    _Setting("--token", "TOKEN", "send this token; FACTSTR_TOKEN hides it from other users"),
    _Setting("--token-file", "FILE", "send the token in this file"),
    _Setting(
        "--allow-plaintext-token",
        None,
        "send the token without TLS to another machine, readable on the way",
        _switch,
        False,
    ),
    _Setting(
        "--format",
        f"{{{','.join(_FORMATS)}}}",
        "auto (default): a table on a terminal, NDJSON elsewhere",
        _format,
        "auto",
    ),
)
