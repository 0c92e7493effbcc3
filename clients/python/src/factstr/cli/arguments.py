"""Owns the commands and the flags of each."""

from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Callable, Sequence
from typing import TypeAlias

from google.protobuf import json_format

from factstr.cli import appending, exporting, importing, info, querying
from factstr.cli.batches import LONGEST_PREFIX
from factstr.cli.settings import add_settings, fill_in
from factstr.query import EventQuery
from factstr.v1 import event_pb2

_Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options, with `run` to call with them and `wrong_usage` to end with a message and 2.

    Raises SystemExit(2) for wrong usage.
    """
    parser = ArgumentParser(
        prog="factstr",
        description="Append, query, import and export facts of a FACTSTR server.",
        epilog="example: factstr --target localhost:50051 info",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_append(commands)
    _add_append_if(commands)
    _add_query(commands)
    _add_import(commands)
    _add_export(commands)
    _command(
        commands,
        "info",
        info.run,
        "say what the server is, where its log ends, and its limits",
        "factstr info",
    )
    options = parser.parse_args(arguments)
    fill_in(options)
    return options


def _command(
    commands: _Commands, name: str, run: Callable[[Namespace], int], what: str, *examples: str
) -> ArgumentParser:
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


def _add_events(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="events as NDJSON, one a line; - for stdin")
    parser.add_argument("--type", metavar="TYPE", help="the event's type")
    parser.add_argument("--payload", metavar="JSON", help="the event's payload, stored byte for byte")
    parser.add_argument(
        "--metadata", action="append", type=_pair, metavar="KEY=VALUE", help="of the event; may be repeated"
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="makes a repetition of this append harmless")


def _add_append(commands: _Commands) -> None:
    parser = _command(
        commands,
        "append",
        appending.run_append,
        "append one event, or a file of events as one atomic batch",
        """factstr append --type tool-registered --payload '{"tool":{"id":"drill-1"}}'""",
        "factstr append --idempotency-key order-7 events.ndjson",
    )
    _add_events(parser)


def _add_append_if(commands: _Commands) -> None:
    parser = _command(
        commands,
        "append-if",
        appending.run_append_if,
        "append only if the context has the expected version; exits with 3 on a conflict",
        """factstr append-if --type tool-checked-out --payload '{"tool":{"id":"drill-1"}}' \\""",
        """    --where-payload '{"tool":{"id":"drill-1"}}' --expected-version 15""",
    )
    _add_events(parser)
    _add_context(parser, "--where-type", "--where-payload")
    parser.add_argument(
        "--expected-version",
        required=True,
        type=_version,
        metavar="N|none",
        help="the context's version, as `factstr query --version-only` prints it",
    )


def _add_query(commands: _Commands) -> None:
    parser = _command(
        commands,
        "query",
        querying.run,
        "show the facts that match",
        """factstr query --type tool-registered --payload '{"tool":{"id":"drill-1"}}'""",
        "factstr query --descending --limit 10",
        """factstr query --version-only --payload '{"tool":{"id":"drill-1"}}'""",
    )
    _add_selection(parser)
    parser.add_argument("--descending", action="store_true", help="newest first")
    parser.add_argument(
        "--version-only", action="store_true", help="print the context's version alone, or none"
    )


def _add_import(commands: _Commands) -> None:
    parser = _command(
        commands,
        "import",
        importing.run,
        "append the events of an NDJSON file, gzip or not, in batches and in order",
        "factstr import --idempotency-prefix incidents incidents.ndjson.gz",
        "zcat incidents.ndjson.gz | factstr import",
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="- for stdin (default)")
    parser.add_argument(
        "--batch", type=_positive, default=500, metavar="N", help="events an append (default 500)"
    )
    parser.add_argument(
        "--idempotency-prefix",
        type=_prefix,
        metavar="PREFIX",
        help="names this import: repeated with the same file and --batch it adds only what is missing",
    )


def _add_export(commands: _Commands) -> None:
    parser = _command(
        commands,
        "export",
        exporting.run,
        "write the facts that match as NDJSON that import takes; gzip if the name ends in .gz",
        "factstr export facts.ndjson.gz",
        "factstr export --type tool-registered - | wc -l",
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="- for stdout (default)")
    _add_selection(parser)


def _add_selection(parser: ArgumentParser) -> None:
    _add_context(parser, "--type", "--payload")
    parser.add_argument("--after", type=_number, metavar="N", help="only facts after this sequence number")
    parser.add_argument("--before", type=_number, metavar="N", help="only facts before this sequence number")
    parser.add_argument("--limit", type=_number, metavar="N", help="at most so many facts")


def _add_context(parser: ArgumentParser, types: str, payloads: str) -> None:
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
        type=_query,
        metavar="JSON",
        help="a whole EventQuery as protobuf JSON, instead of the two above",
    )


def _query(text: str) -> EventQuery:
    try:
        return EventQuery.from_proto(json_format.Parse(text, event_pb2.EventQuery()))
    except json_format.ParseError as error:
        example = '{"filters":[{"eventTypes":{"anyOf":["tool-registered"]}}]}'
        raise ArgumentTypeError(f"not an EventQuery such as {example}: {error}") from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**64):
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 2^64 - 1")
    return int(text)


def _positive(text: str) -> int:
    number = _number(text)
    if number == 0:
        raise ArgumentTypeError("0 is too few; at least 1 is needed")
    return number


def _version(text: str) -> int | None:
    return None if text == "none" else _number(text)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _prefix(text: str) -> str:
    if not 0 < len(text) <= LONGEST_PREFIX:
        raise ArgumentTypeError(f"{len(text)} characters; it takes 1 to {LONGEST_PREFIX}")
    return text
