"""Owns how a command is declared: its help, its examples, and the flags that several have."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable
from typing import TypeAlias

from factstr.cli import values
from factstr.cli.settings import add_settings

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"


def declare(
    commands: Commands, name: str, run: Callable[[Namespace], int], what: str, *examples: str
) -> ArgumentParser:
    """Return the parser of a new command, with help that shows examples, and the settings that every one takes."""
    parser: ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog="\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples]),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, wrong_usage=parser.error)
    add_settings(parser)
    return parser


def add_context(parser: ArgumentParser, types: str, payloads: str) -> None:
    """Add the flags that describe a query; `session.selected` reads them."""
    parser.add_argument(
        types, dest="where_type", action="append", metavar="TYPE", help="any of these types; may be repeated"
    )
    parser.add_argument(
        payloads,
        dest="where_payload",
        action="append",
        metavar="JSON",
        help="payloads that hold at least any of these; may be repeated",
    )
    parser.add_argument(
        "--query",
        type=values.query,
        metavar="JSON",
        help="a whole EventQuery as protobuf JSON, instead of the two above",
    )
